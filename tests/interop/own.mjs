// A server with an endpoint of its own for refreshing, as many have that know no OAuth:
// the refresh token goes to POST /auth/refresh as a bearer token, and JSON comes back.

import { randomBytes } from 'node:crypto';

const newToken = () => randomBytes(24).toString('base64url');

export class OwnServer {
  #access = new Map();
  #refresh = new Map();
  #logins = 0;

  constructor({ settings, ledger }) {
    this.settings = settings;
    this.ledger = ledger;
  }

  logIn() {
    this.#logins += 1;
    return this.#issue(`own ${this.#logins}`);
  }

  /** New tokens for an unused refresh token; undefined, and the login over, for a used one. */
  refresh(refreshToken) {
    const entry = this.#refresh.get(refreshToken);
    const refused = !entry || entry.used;
    this.ledger.tokenRequest('own', { refreshToken, error: refused ? 'unauthorized' : undefined });
    if (refused) {
      if (entry) this.#revoke(entry.login);
      return undefined;
    }
    entry.used = true;
    return this.#issue(entry.login);
  }

  isLive(accessToken) {
    return this.#access.get(accessToken)?.expiresAt > Date.now();
  }

  expire() {
    for (const entry of this.#access.values()) entry.expiresAt = 0;
  }

  revokeAll() {
    this.#access.clear();
    this.#refresh.clear();
  }

  reset() {
    this.revokeAll();
    this.#logins = 0;
  }

  #issue(login) {
    const accessToken = newToken();
    const refreshToken = newToken();
    const expiresIn = this.settings.access_token_ttl;
    this.#access.set(accessToken, { login, expiresAt: Date.now() + expiresIn * 1000 });
    this.#refresh.set(refreshToken, { login, used: false });
    this.ledger.accessTokenIssued(accessToken, login);
    this.ledger.refreshTokenIssued(refreshToken, login);
    return { accessToken, refreshToken, expiresIn };
  }

  #revoke(login) {
    for (const tokens of [this.#access, this.#refresh]) {
      for (const [token, entry] of tokens) if (entry.login === login) tokens.delete(token);
    }
  }
}
