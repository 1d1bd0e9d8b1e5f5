// Starts Swagger UI on this server's own description. Nothing is asked of any other host.
'use strict';

// HEAD and OPTIONS are everywhere and everywhere the same: the description's first paragraphs say so, the list need not.
const withoutTheObvious = () => ({
  statePlugins: {
    spec: {
      wrapSelectors: {
        taggedOperations: (selector) => (...args) =>
          selector(...args).map((tag) =>
            tag.update('operations', (operations) =>
              operations.filterNot((operation) => ['head', 'options'].includes(operation.get('method'))))),
      },
    },
  },
});

const dark = matchMedia('(prefers-color-scheme: dark)');
const followTheme = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', followTheme);
followTheme();

SwaggerUIBundle({
  dom_id: '#docs',
  url: '/openapi.json',
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  plugins: [withoutTheObvious],
  tryItOutEnabled: true,
  validatorUrl: null,
});
