// My models and books: what is done with them, and new ones.

import { addBook } from "./books.js";
import { testsWhenOpened } from "./downloads.js";
import { imports } from "./importing.js";
import "./models.js";
import "./picking.js";
import { uploads } from "./upload.js";

testsWhenOpened(document.getElementById("models"));
imports(document.querySelector("[data-role=importer]"));
uploads(document.querySelector("[data-role=uploader]"), addBook);
