import { randomUUID } from 'node:crypto'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import type { StackEndpoints } from '../../deploy/local/config.ts'
import type { ServerName, StackProvider } from './stack-provider.ts'

/** How test workers reach the host; travels through vitest's provide and inject. */
export type StackHostAddress = { url: string; token: string }

/** What a worker may ask for. Every answer comes after the thing is done. */
export type StackRequest =
  | { do: 'ensure'; brokers: number }
  | { do: 'stop' | 'kill' | 'start'; server: ServerName }
  | { do: 'takeRedisDatabase' }

export type StackAnswer = { endpoints?: StackEndpoints; redisDatabase?: number; error?: string }

const REDIS_DATABASES = 64

/**
 * Owns the stack of one vitest run, in vitest's main process, and lets the workers, which are
 * processes of their own, ask for it. At most one stack runs; it starts when it is first asked
 * for, so that a run of unit tests starts none. Requests are served one after the other.
 */
export class StackHost {
  readonly #startStack: (brokers: number) => Promise<StackProvider>
  readonly #server: http.Server
  readonly #token = randomUUID()
  #stack: StackProvider | undefined
  #redisDatabase = 0
  #queue: Promise<unknown> = Promise.resolve()

  private constructor(startStack: (brokers: number) => Promise<StackProvider>) {
    this.#startStack = startStack
    this.#server = http.createServer((request, response) => void this.#answer(request, response))
  }

  static async listen(startStack: (brokers: number) => Promise<StackProvider>): Promise<StackHost> {
    const host = new StackHost(startStack)
    await new Promise<void>((resolve) => host.#server.listen(0, '127.0.0.1', resolve))
    host.#server.unref()
    return host
  }

  get address(): StackHostAddress {
    return { url: `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`, token: this.#token }
  }

  /** A running, whole stack with this many brokers. */
  ensure(brokers: number): Promise<StackEndpoints> {
    return this.#inTurn(async () => {
      if (this.#stack && this.#stack.brokers !== brokers) await this.#discard()
      this.#stack ??= await this.#startStack(brokers)
      await this.#stack.heal()
      return this.#stack.endpoints
    })
  }

  async close(): Promise<void> {
    await this.#inTurn(() => this.#discard())
    this.#server.close()
  }

  async #discard(): Promise<void> {
    const stack = this.#stack
    this.#stack = undefined
    await stack?.discard()
  }

  async #serve(request: StackRequest): Promise<StackAnswer> {
    if (request.do === 'ensure') return { endpoints: await this.ensure(request.brokers) }
    if (request.do === 'takeRedisDatabase') {
      this.#redisDatabase = (this.#redisDatabase % (REDIS_DATABASES - 1)) + 1
      return { redisDatabase: this.#redisDatabase }
    }
    await this.#inTurn(async () => {
      if (!this.#stack) throw new Error('no stack is running; call useStack() first')
      await this.#stack[request.do](request.server)
    })
    return {}
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work)
    this.#queue = result.catch(() => {})
    return result
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    if (request.headers.authorization !== this.#token) {
      response.writeHead(403).end()
      return
    }
    let body = ''
    for await (const chunk of request) body += chunk
    const answer = await this.#serve(JSON.parse(body) as StackRequest).catch((err: unknown): StackAnswer => ({ error: String(err) }))
    response.end(JSON.stringify(answer))
  }
}

/** Asks the host, from a worker. @throws what went wrong there. */
export async function askStackHost(address: StackHostAddress, request: StackRequest): Promise<StackAnswer> {
  return new Promise((resolve, reject) => {
    // Not fetch: its headers timeout of 5 minutes is shorter than a first download may take.
    const outgoing = http.request(address.url, { method: 'POST', headers: { authorization: address.token } }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => { body += chunk })
      response.on('end', () => {
        const answer = JSON.parse(body) as StackAnswer
        if (answer.error === undefined) resolve(answer)
        else reject(new Error(answer.error))
      })
    })
    outgoing.on('error', reject)
    outgoing.end(JSON.stringify(request))
  })
}
