// The authorization server and the APIs that the interoperability tests run against, in one process.
//
//   node server.mjs [access token lifetime in seconds]
//
// Listens on a free loopback port, says so with one line of JSON, and ends when its stdin closes.
//
//   /token, /token/revocation, ...   oidc-provider
//   /tenant/token, ...               another, whose issuer has a path; insists on pushed requests
//   /api/...                         answers 200 for a live access token of it, else 401
//   POST /auth/refresh               the server of its own kind (own.mjs)
//   /own/...                         answers 200 for a live access token of that, else 401
//   /test/...                        for the tests: log in without a browser, look inside, break things

import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Store } from './adapter.mjs';
import { Ledger } from './ledger.mjs';
import { OwnServer } from './own.mjs';
import { clientOf, clients, logIn, makeKey, makeProvider } from './provider.mjs';

const defaults = {
  access_token_ttl: Number(process.argv[2] ?? 3), // seconds, a whole number
  storage_delay: 0, // seconds: how long looking up a refresh token takes
  answer_delay: 0, // seconds: how long the new tokens are held back after the rotation
  metadata: 'all', // or the one form of well-known address that is served: 'openid', 'oauth'
};
const settings = { ...defaults };
const store = new Store(settings);
const ledger = new Ledger();
const own = new OwnServer({ settings, ledger });
const grants = new Map(); // login number -> grant id

const server = http.createServer();
// A client never meets a connection that is just being closed for idleness.
server.keepAliveTimeout = 300_000;
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
const TENANT = '/tenant';
const keys = [makeKey()];
let provider;
let oidc;
let tenant;

/** Make both anew, as they can't be told of new keys. What they know is in the store. */
function makeProviders() {
  const parts = { settings, store, ledger, keys };
  provider = makeProvider(issuer, parts);
  oidc = provider.callback();
  tenant = makeProvider(`${issuer}${TENANT}`, { ...parts, pushed: true }).callback();
}
makeProviders();

async function readBody(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function answer(response, status, body, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

const bearerToken = (request) => /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1];

async function protectedApi(request, response, isLive) {
  const { length } = await readBody(request);
  const token = bearerToken(request);
  if (token === undefined || !(await isLive(token))) {
    ledger.api.refused += 1;
    const challenge = token === undefined ? 'Bearer' : 'Bearer error="invalid_token"';
    answer(response, 401, { error: 'invalid_token' }, { 'www-authenticate': challenge });
    return;
  }
  ledger.api.accepted += 1;
  answer(response, 200, { ...ledger.generationOf(token), received: length });
}

async function ownRefresh(request, response) {
  await readBody(request);
  const tokens = own.refresh(bearerToken(request) ?? '');
  await sleep(settings.answer_delay * 1000);
  if (tokens) answer(response, 200, tokens);
  else answer(response, 401, { error: 'unauthorized' });
}

const administration = {
  'GET /test/ledger': () => ledger,
  'POST /test/login': async ({ client_id: clientId }) => {
    const { grantId, tokens } = await logIn(provider, clientId);
    const login = ledger.login(grantId);
    grants.set(login, grantId);
    return { login, ...tokens };
  },
  'POST /test/client': async (metadata) => {
    await store.adapter('Client').upsert(metadata.client_id, metadata);
  },
  'POST /test/rotate-keys': () => {
    keys.unshift(makeKey());
    makeProviders();
    return { keys: keys.length };
  },
  'POST /test/own-login': () => own.logIn(),
  'POST /test/expire': () => {
    store.expire();
    own.expire();
  },
  'POST /test/revoke': ({ login }) => {
    for (const [number, grantId] of grants) {
      if (login === undefined || login === number) store.revoke(grantId);
    }
    if (login === undefined) own.revokeAll();
  },
  'POST /test/settings': (changes) => {
    for (const [name, value] of Object.entries(changes)) {
      if (!(name in defaults)) throw new Error(`there is no setting ${name}`);
      settings[name] = value;
    }
    return settings;
  },
  'POST /test/reset': () => {
    Object.assign(settings, defaults);
    grants.clear();
    for (const part of [store, own, ledger]) part.reset();
  },
};

async function administer(request, response) {
  const body = await readBody(request);
  const action = administration[`${request.method} ${request.url}`];
  if (!action) {
    answer(response, 404, { error: 'not found' });
    return;
  }
  try {
    answer(response, 200, (await action(body.length ? JSON.parse(body) : {})) ?? {});
  } catch (error) {
    answer(response, 400, { error: error.message });
  }
}

const WELL_KNOWN = {
  openid: /^(\/tenant)?(\/\.well-known\/openid-configuration)$/,
  // RFC 8414 3.1 puts the path of the issuer behind, OpenID Connect before.
  oauth: /^(\/\.well-known\/oauth-authorization-server)(\/tenant)?$/,
};

/** Serve the metadata; say whether this was a request for it. */
async function metadata(request, response) {
  const form = Object.keys(WELL_KNOWN).find((name) => WELL_KNOWN[name].test(request.url));
  if (form === undefined) return false;
  if (settings.metadata !== 'all' && settings.metadata !== form) {
    answer(response, 404, { error: 'not found' });
    return true;
  }
  const [, ...parts] = WELL_KNOWN[form].exec(request.url);
  const inner = parts.find((part) => part?.startsWith('/.well-known'));
  if (parts.includes(TENANT)) await atTenant(request, response, inner);
  else await oidc(request, response);
  return true;
}

/** Mounted below a path, as its documentation says. */
async function atTenant(request, response, url) {
  Object.assign(request, { originalUrl: `${TENANT}${url}`, url });
  await tenant(request, response);
}

async function route(request, response) {
  const { method, url } = request;
  if (url.startsWith('/test/')) await administer(request, response);
  else if (url.startsWith('/api/')) {
    await protectedApi(request, response, (token) => clientOf(provider, token));
  } else if (url.startsWith('/own/')) {
    await protectedApi(request, response, (token) => own.isLive(token));
  } else if (method === 'POST' && url === '/auth/refresh') await ownRefresh(request, response);
  else if (await metadata(request, response)) return;
  else if (url.startsWith(`${TENANT}/`)) {
    await atTenant(request, response, url.slice(TENANT.length));
  } else await oidc(request, response);
}

server.on('request', (request, response) => {
  // Tests cancel requests: a client that goes away in the middle of one must not end the server.
  route(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
});

process.stdin.on('close', () => process.exit(0)).resume();
process.stdout.write(`${JSON.stringify({ issuer, clients })}\n`);
