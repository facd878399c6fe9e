import { v7 as uuidV7 } from 'uuid'
import type { System } from '../support/system.ts'

export type ApiAnswer = { readonly status: number; readonly body: any }
type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

/** People who use the REST api of a system. */
export class ApiUsers {
  readonly #system: System
  readonly #url: string
  readonly #tokens = new Map<string, Promise<string>>()

  constructor(system: System, api = 'api-1') {
    this.#system = system
    this.#url = `http://127.0.0.1:${system.process(api).env['API_PORT']}`
  }

  /** `user`, or `user.role`. */
  async ask(method: Method, url: string, user: string, body?: unknown): Promise<ApiAnswer> {
    const headers = { authorization: `Bearer ${await this.#tokenOf(user)}`, ...(body !== undefined && { 'content-type': 'application/json' }) }
    const response = await fetch(`${this.#url}${url}`, { method, headers, body: body === undefined ? null : JSON.stringify(body) })
    return { status: response.status, body: await response.json() }
  }

  get = (url: string, user: string): Promise<ApiAnswer> => this.ask('GET', url, user)

  /** Writes, under one clientMessageId until the answer is final. */
  async write(method: Method, url: string, user: string, body: Readonly<Record<string, unknown>> = {}): Promise<ApiAnswer> {
    const named = { clientMessageId: uuidV7(), ...body }
    for (const deadlineMs = Date.now() + 30_000; ; ) {
      const answer = await this.ask(method, url, user, named)
      if (answer.body.retriable !== true || Date.now() > deadlineMs) return answer
      await new Promise((resolve) => setTimeout(resolve, Math.min(answer.body.retryAfterMs ?? 200, 500)))
    }
  }

  post = (url: string, user: string, body?: Readonly<Record<string, unknown>>): Promise<ApiAnswer> => this.write('POST', url, user, body)

  /** What is written can be read a moment later. */
  async until(url: string, user: string, isThere: (body: any) => boolean): Promise<any> {
    for (const deadlineMs = Date.now() + 15_000; ; ) {
      const { status, body } = await this.get(url, user)
      if (status === 200 && isThere(body)) return body
      if (Date.now() > deadlineMs) throw new Error(`${url} of ${user} is still ${status} ${JSON.stringify(body)}`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  /** The room once the history has it up to this seq. */
  reached = (roomId: string, seq: number, user: string): Promise<any> => this.until(`/rooms/${roomId}`, user, ({ headSeq }) => headSeq >= seq)

  #tokenOf(user: string): Promise<string> {
    const [userId = '', role] = user.split('.')
    const known = this.#tokens.get(user) ?? this.#system.token(userId, role)
    this.#tokens.set(user, known)
    return known
  }
}

export const codeOf = ({ status, body }: ApiAnswer): [number, string] => [status, body.code]
