// The API page: Swagger UI over our own OpenAPI document, with nothing fetched from elsewhere.

/* global SwaggerUIBundle */
const place = document.getElementById("swagger");
SwaggerUIBundle({ url: place.dataset.openapi, domNode: place, validatorUrl: null, deepLinking: false, supportedSubmitMethods: ["get", "post", "delete"] });
