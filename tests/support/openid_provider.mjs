// A real OpenID provider on loopback: `node openid_provider.mjs PACKAGE OPTIONS`, where OPTIONS is a JSON object with
// `port` (0 for any), `jwks` (its private keys) and, for https, `key` and `cert` (PEM). Prints its issuer.
import http from 'node:http';
import https from 'node:https';
import { pathToFileURL } from 'node:url';

const [package_, text] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(package_));
const options = JSON.parse(text);

const server = options.key ? https.createServer({ key: options.key, cert: options.cert }) : http.createServer();
server.listen(options.port, '127.0.0.1', () => {
  const issuer = `${options.key ? 'https' : 'http'}://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    jwks: options.jwks,
    clients: [
      { client_id: 'nightly', client_secret: 'hush', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] },
    ],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:backburner',
        // What is asked for is the audience: another resource's token is for another service.
        getResourceServerInfo: (_, resource) => ({
          scope: 'batch:read batch:write admin',
          audience: resource,
          accessTokenFormat: resource.endsWith(':opaque') ? 'opaque' : 'jwt',
        }),
      },
    },
    extraTokenClaims: () => ({ tenant: 'acme' }),
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
