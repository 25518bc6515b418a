// Where oidc-provider keeps things: plain Maps, without a limit on how many.
// (Its own memory adapter forgets after a thousand entries.)

import { setTimeout as sleep } from 'node:timers/promises';
import { errors } from 'oidc-provider';

export class Store {
  #models = new Map();

  constructor(settings) {
    this.settings = settings;
  }

  /** All records of one model, by id. */
  records(model) {
    if (!this.#models.has(model)) this.#models.set(model, new Map());
    return this.#models.get(model);
  }

  /** What oidc-provider asks for: an adapter for each model. */
  adapter = (model) => new Adapter(this, model);

  /** End a grant: the grant itself and every token that came from it. */
  revoke(grantId) {
    this.records('Grant').delete(grantId);
    for (const records of this.#models.values()) {
      for (const [id, record] of records) {
        if (record.grantId === grantId) records.delete(id);
      }
    }
  }

  /** Make every access token one that expired long ago. */
  expire() {
    for (const model of ['AccessToken', 'ClientCredentials']) {
      for (const record of this.records(model).values()) record.exp = 1;
    }
  }

  reset() {
    // Cleared, not replaced: the adapters hold on to them.
    for (const records of this.#models.values()) records.clear();
  }
}

class Adapter {
  #store;
  #model;
  #records;

  constructor(store, model) {
    this.#store = store;
    this.#model = model;
    this.#records = store.records(model);
  }

  async upsert(id, payload) {
    this.#records.set(id, { ...payload });
  }

  async find(id) {
    const record = this.#records.get(id);
    const found = record && { ...record };
    // Like a data base: what comes is a copy, and old by the time it comes. Two requests that present
    // the same refresh token at the same time both see it unused, and `consume` has to decide.
    if (this.#model === 'RefreshToken') await sleep(this.#store.settings.storage_delay * 1000);
    return found;
  }

  async consume(id) {
    const record = this.#records.get(id);
    if (!record || record.consumed) {
      if (record) this.#store.revoke(record.grantId);
      throw new errors.InvalidGrant('refresh token already used');
    }
    record.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    this.#records.delete(id);
  }

  async revokeByGrantId(grantId) {
    for (const [id, record] of this.#records) {
      if (record.grantId === grantId) this.#records.delete(id);
    }
  }

  async findByUid(uid) {
    for (const record of this.#records.values()) if (record.uid === uid) return { ...record };
    return undefined;
  }

  async findByUserCode(userCode) {
    for (const record of this.#records.values()) {
      if (record.userCode === userCode) return { ...record };
    }
    return undefined;
  }
}
