import { createRequire } from 'node:module'
import { FetchSession, type SessionRequest, type WantedTopic } from './fetch-session.ts'

type FetchOptions = {
  readonly replicaId?: number
  readonly isolationLevel?: number
  readonly maxWaitTime?: number
  readonly minBytes?: number
  readonly maxBytes?: number
  readonly topics: readonly WantedTopic[]
  readonly rackId?: string
}
type FetchAnswer = { readonly errorCode: number; readonly sessionId: number; readonly responses: readonly unknown[] }
type Broker = {
  lookupRequest(apiKey: number, definition: unknown): (request: Omit<FetchOptions, 'topics'> & SessionRequest) => unknown
  readonly [send: symbol]: (request: unknown) => Promise<FetchAnswer>
}

const FETCH_API_KEY = 1
const sessions = new WeakMap<Broker, FetchSession>()

/**
 * kafkajs 2.2.4 names every partition in each fetch, and gets an answer for every one: with 12 or 24 of them, most
 * without news, that is most of what a fetch costs here and at the broker. Its wire formats know incremental fetch
 * sessions, its broker object only never starts one.
 */
export function useFetchSessions(): void {
  const require = createRequire(import.meta.url)
  const { prototype } = require('kafkajs/src/broker') as { readonly prototype: Broker & { fetch: (options: FetchOptions) => Promise<FetchAnswer> } }
  const { Fetch } = (require('kafkajs/src/protocol/requests') as { readonly requests: { readonly Fetch: unknown } }).requests
  const send = Object.getOwnPropertySymbols(prototype).find(({ description }) => description === 'private:Broker:sendRequest')!
  prototype.fetch = async function (this: Broker, { topics, maxWaitTime = 5_000, minBytes = 1, maxBytes = 10 * 1024 * 1024, rackId = '', ...rest }) {
    const session = sessions.get(this) ?? new FetchSession()
    sessions.set(this, session)
    const ask = () => this[send]!(this.lookupRequest(FETCH_API_KEY, Fetch)({ ...rest, ...session.next(topics), maxWaitTime, minBytes, maxBytes, rackId }))
    try {
      let answer = await ask()
      if (answer.errorCode !== 0) {
        // Evicted by the broker, or it has restarted.
        session.reset()
        answer = await ask()
      }
      if (answer.errorCode === 0) session.answered(answer.sessionId)
      else session.reset()
      return answer
    } catch (err) {
      session.reset()
      throw err
    }
  }
}
