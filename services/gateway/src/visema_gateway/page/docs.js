// The interactive documentation: Swagger UI over our own OpenAPI document.
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#docs", deepLinking: true, persistAuthorization: false, validatorUrl: null });
