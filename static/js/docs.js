// The API page: Swagger UI over our own OpenAPI document, with nothing fetched from elsewhere.

/* global SwaggerUIBundle */
const place = document.getElementById("swagger");

// Swagger UI's own layout has a second <main>; this one has the calls and the schemas alone.
function layout({ React }) {
  const part = React.createElement;
  const Calls = ({ getComponent, specSelectors }) =>
    part(
      "div",
      { className: "swagger-ui" },
      part(getComponent("SvgAssets")),
      specSelectors.specJson().size ? part(getComponent("operations", true)) : null,
      specSelectors.specJson().size ? part(getComponent("Models", true)) : null,
    );
  return { components: { Calls } };
}

SwaggerUIBundle({ url: place.dataset.openapi, domNode: place, layout: "Calls", plugins: [layout], validatorUrl: null, deepLinking: false, supportedSubmitMethods: ["get", "post", "delete"] });
