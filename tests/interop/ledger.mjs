// What the server itself counted. No token is in it: refresh tokens are numbered as they are issued.

import { createHash } from 'node:crypto';

const digest = (token) => createHash('sha256').update(token).digest('base64');

const increment = (counts, key) => {
  counts[key] = (counts[key] ?? 0) + 1;
};

export class Ledger {
  #refreshTokens;
  #generations;
  #newest;
  #logins;

  constructor() {
    this.reset();
  }

  reset() {
    this.#refreshTokens = new Map();
    this.#generations = new Map();
    this.#newest = new Map();
    this.#logins = new Map();
    this.tokenRequests = {};
    this.errors = {};
    this.events = {};
    this.routes = {};
    this.unknownPresented = 0;
    this.revocationRequests = 0;
    this.api = { accepted: 0, refused: 0 };
  }

  /** The number of a login, by whatever the server knows it by. */
  login(key) {
    if (!this.#logins.has(key)) this.#logins.set(key, this.#logins.size + 1);
    return this.#logins.get(key);
  }

  event(name) {
    increment(this.events, name);
  }

  /** A request to one of the endpoints, by the name that oidc-provider has for it. */
  routed(name) {
    increment(this.routes, name);
  }

  refreshTokenIssued(token, loginKey) {
    this.#refreshTokens.set(digest(token), {
      number: this.#refreshTokens.size + 1,
      login: this.login(loginKey),
      presented: 0,
      accepted: 0,
    });
  }

  accessTokenIssued(token, loginKey) {
    const login = this.login(loginKey);
    const generation = (this.#newest.get(login) ?? 0) + 1;
    this.#newest.set(login, generation);
    this.#generations.set(digest(token), { login, generation });
  }

  /** Which login an access token is for, and which of its access tokens it is, from 1. */
  generationOf(token) {
    return this.#generations.get(digest(token));
  }

  /** One answer of a token endpoint. */
  tokenRequest(grantType, { refreshToken, error }) {
    this.tokenRequests[grantType] ??= { success: 0, error: 0 };
    this.tokenRequests[grantType][error ? 'error' : 'success'] += 1;
    if (error) increment(this.errors, error);
    if (refreshToken === undefined) return;
    const entry = this.#refreshTokens.get(digest(refreshToken));
    if (!entry) {
      this.unknownPresented += 1;
      return;
    }
    entry.presented += 1;
    if (!error) entry.accepted += 1;
  }

  toJSON() {
    const refreshTokens = [...this.#refreshTokens.values()];
    return {
      token_requests: this.tokenRequests,
      errors: this.errors,
      events: this.events,
      routes: this.routes,
      refresh_tokens: refreshTokens,
      // Presentations beyond the first, whatever was answered.
      reuse: refreshTokens.reduce((sum, one) => sum + Math.max(0, one.presented - 1), 0),
      unknown_presented: this.unknownPresented,
      revocation_requests: this.revocationRequests,
      api: this.api,
    };
  }
}
