// oidc-provider, set up to rotate refresh tokens always, with its own pages for people, and with a
// login that needs none.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Provider } from 'oidc-provider';

const SCOPE = 'openid offline_access';

export const clients = {
  public: { client_id: 'public', token_endpoint_auth_method: 'none' },
  // Every character that some client library forgets to encode (RFC 6749 2.3.1).
  basic: {
    client_id: 'conf:odd id',
    client_secret: 'p%a s+s:w/&=?',
    token_endpoint_auth_method: 'client_secret_basic',
  },
  post: {
    client_id: 'post client',
    client_secret: 'p%a s+s:w/&=?',
    token_endpoint_auth_method: 'client_secret_post',
  },
  service: {
    client_id: 'service',
    client_secret: 'the secret of a service',
    token_endpoint_auth_method: 'client_secret_basic',
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
  },
};

const COUNTED = [
  'grant.success',
  'grant.error',
  'grant.revoked',
  'refresh_token.saved',
  'refresh_token.consumed',
  'access_token.saved',
  'client_credentials.saved',
  'revocation.error',
  'server_error',
];

/** A new key to sign with. */
export function makeKey() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig' };
}

/**
 * A server that signs with the first of the keys, and publishes all of them.
 *
 * With `pushed` it insists on pushed authorization requests (RFC 9126), or else it has none.
 */
export function makeProvider(issuer, { settings, store, ledger, keys, pushed = false }) {
  const provider = new Provider(issuer, {
    adapter: store.adapter,
    clients: Object.values(clients),
    clientAuthMethods: [
      'none',
      'client_secret_basic',
      'client_secret_post',
      'client_secret_jwt',
      'private_key_jwt',
    ],
    clientDefaults: {
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      redirect_uris: ['https://client.example.com/callback'],
      id_token_signed_response_alg: 'ES256',
    },
    clockTolerance: 0,
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    features: {
      clientCredentials: { enabled: true },
      // Its pages take any name and password.
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      introspection: { enabled: true, allowedPolicy: isOwner },
      pushedAuthorizationRequests: { enabled: pushed, requirePushedAuthorizationRequests: pushed },
      revocation: { enabled: true, allowedPolicy: isOwner },
    },
    findAccount: async (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
    jwks: { keys },
    rotateRefreshToken: true,
    scopes: ['openid', 'offline_access', 'read', 'write'],
    ttl: {
      AccessToken: () => settings.access_token_ttl,
      ClientCredentials: () => settings.access_token_ttl,
      Grant: 86_400,
      IdToken: 3600,
      RefreshToken: 86_400,
      DeviceCode: 600,
      Interaction: 600,
      Session: 600,
    },
  });
  provider.on('refresh_token.saved', ({ jti, grantId }) => ledger.refreshTokenIssued(jti, grantId));
  provider.on('access_token.saved', ({ jti, grantId }) => ledger.accessTokenIssued(jti, grantId));
  provider.on('client_credentials.saved', ({ jti, clientId }) =>
    ledger.accessTokenIssued(jti, `client ${clientId}`),
  );
  for (const event of COUNTED) provider.on(event, () => ledger.event(event));
  provider.on('server_error', (_, error) => console.error(error));
  provider.use(async (ctx, next) => {
    await next();
    await observe(ctx, { settings, ledger });
  });
  return provider;
}

const isOwner = async (_, client, token) => client.clientId === token.clientId;

async function observe({ oidc, body, status }, { settings, ledger }) {
  if (oidc?.route) ledger.routed(oidc.route);
  if (oidc?.route === 'revocation') ledger.revocationRequests += 1;
  if (oidc?.route !== 'token') return;
  const { grant_type: grantType, refresh_token: refreshToken } = oidc.params ?? {};
  ledger.tokenRequest(grantType ?? '(none)', {
    refreshToken,
    error: status === 200 ? undefined : body.error,
  });
  // After the rotation and before the answer: the worst moment for a client to go away.
  await sleep(settings.answer_delay * 1000);
}

/** What the end of an authorization code flow leaves behind, without the browser before it. */
export async function logIn(provider, clientId) {
  const client = await provider.Client.find(clientId);
  if (!client) throw new Error(`there is no client ${clientId}`);
  const accountId = 'a-person';
  const grant = new provider.Grant({ accountId, clientId });
  grant.addOIDCScope(SCOPE);
  const grantId = await grant.save();
  const common = { accountId, client, grantId, gty: 'authorization_code', scope: SCOPE };
  const refreshToken = new provider.RefreshToken({
    ...common,
    authTime: Math.floor(Date.now() / 1000),
    rotations: 0,
  });
  const accessToken = new provider.AccessToken(common);
  return {
    grantId,
    tokens: {
      access_token: await accessToken.save(),
      refresh_token: await refreshToken.save(),
      expires_in: accessToken.expiration,
      token_type: 'Bearer',
      scope: SCOPE,
    },
  };
}

/** The client that a live access token was issued to; undefined for any other token. */
export async function clientOf(provider, value) {
  const token =
    (await provider.AccessToken.find(value)) ?? (await provider.ClientCredentials.find(value));
  return token?.isValid ? token.clientId : undefined;
}
