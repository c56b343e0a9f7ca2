// My models: what is done with them, and models from elsewhere.

import { testsWhenOpened } from "./downloads.js";
import { imports } from "./importing.js";
import "./models.js";
import "./picking.js";

testsWhenOpened(document.getElementById("models"));
imports(document.querySelector("[data-role=importer]"));
