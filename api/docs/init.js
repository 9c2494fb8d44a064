// Shows the API's description with Swagger UI, which is told to ask nobody but this service.

// Swagger UI writes descriptions as HTML, after DOMPurify has cleaned them. The page allows that, and nothing else, to
// be made out of a string.
globalThis.trustedTypes?.createPolicy('default', { createHTML: (html) => html });

const viewer = document.getElementById('viewer');
globalThis.SwaggerUIBundle({
  domNode: viewer,
  url: viewer.dataset.description,
  deepLinking: true,
  displayOperationId: true,
  validatorUrl: null,
  presets: [globalThis.SwaggerUIBundle.presets.apis],
  layout: 'BaseLayout',
});
