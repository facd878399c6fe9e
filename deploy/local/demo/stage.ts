import { strict as assert } from 'node:assert'
import { setTimeout as pause } from 'node:timers/promises'
import { signDevToken } from '#libs/auth/dev-key.ts'
import { type ChatClient, createChatClient } from '#libs/client/index.ts'
import { HOST, type ServicePorts } from '../config.ts'
import { publishOrderEvent } from '../order.ts'
import { AUTH_AUDIENCE, AUTH_ISSUER, commonServiceEnv, type ServiceWorld } from '../service-env.ts'
import { Person } from './person.ts'
import { type Push, takePushes } from './pushes.ts'

const WAIT_MS = 15_000

export type Joining = { readonly edge: 1 | 2; readonly role?: 'user' | 'admin' }

/** Where the demo plays: its people, what they do, and what each of them sees of it. */
export class Stage {
  /** In every name, so that one run knows nothing of another's people. */
  readonly run = Date.now().toString(36)
  readonly #ports: ServicePorts
  readonly #world: ServiceWorld
  readonly #people: Person[] = []
  readonly #pushes: Push[] = []
  #steps = 0
  /** What was seen since the last step, and by whom. */
  #seen = new Map<string, string[]>()

  constructor(ports: ServicePorts, world: ServiceWorld) {
    this.#ports = ports
    this.#world = world
  }

  get postgresUrl(): string {
    return this.#world.endpoints.postgresUrl
  }

  userId(name: string): string {
    return `${name}.${this.run}`
  }

  chapter(title: string): void {
    console.log(`\n${title}\n`)
  }

  /** Does `work`, waits until everybody in a room has seen the same of it, and shows it. */
  async step<T>(what: string, work: () => Promise<T>): Promise<T> {
    const startedMs = performance.now()
    const nr = String(++this.#steps).padStart(2)
    try {
      const result = await work()
      await this.until(() => this.#isLevel(), 'not everybody in a room has seen the same')
      console.log(`✓ ${nr}. ${what} (${Math.round(performance.now() - startedMs)} ms)`)
      this.#show()
      return result
    } catch (err) {
      console.error(`✗ ${nr}. ${what}\n   ${(err as Error).message}`)
      this.#show()
      throw err
    }
  }

  async until(isSo: () => boolean | Promise<boolean>, otherwise: string): Promise<void> {
    for (const deadlineMs = Date.now() + WAIT_MS; !(await isSo()); ) {
      if (Date.now() > deadlineMs) throw new Error(otherwise)
      await pause(2)
    }
  }

  token(name: string, role = 'user'): Promise<string> {
    return signDevToken({ file: this.#world.devKeyFile, issuer: AUTH_ISSUER, audience: AUTH_AUDIENCE, userId: this.userId(name), role, ttlS: 600 })
  }

  /** As another service would say it, through SQS. */
  async publish(type: string, payload: Readonly<Record<string, unknown>>): Promise<void> {
    const { sqsQueueUrl, sqsEndpoint } = this.#world.endpoints
    await publishOrderEvent({ type, payload }, { queueUrl: sqsQueueUrl, endpoint: sqsEndpoint })
  }

  edgeUrl(edge: 1 | 2, scheme: 'ws' | 'http'): string {
    return `${scheme}://${HOST}:${this.#ports.edge[edge - 1]}`
  }

  /** A person on a socket that joins nothing by itself. */
  async person(name: string, { edge, role = 'user' }: Joining): Promise<Person> {
    const client = createChatClient({ url: `${this.edgeUrl(edge, 'ws')}/ws/chat`, token: () => this.token(name, role) })
    const person = this.#add(name, client)
    await client.connect()
    return person
  }

  /** One of several devices of a person, with his list of chats. */
  async device(name: string, device: string, edge: 1 | 2): Promise<Person> {
    const client = createChatClient({ url: `${this.edgeUrl(edge, 'ws')}/ws/chat`, token: () => this.token(name) })
    const person = this.#add(name, client, device)
    client.inbox.start()
    await client.connect()
    await this.until(() => client.inbox.phase === 'live', `the ${device} has no list`)
    return person
  }

  /** What the local push queue has for him; undefined where the stack has a queue of its owner's. */
  async push(name: string, isIt: (push: Push) => boolean): Promise<Push | undefined> {
    const { sqsEndpoint } = this.#world.endpoints
    if (sqsEndpoint === '') return undefined
    let found: Push | undefined
    await this.until(async () => {
      for (const push of await takePushes(sqsEndpoint)) if (push.userId === this.userId(name)) this.#pushes.push(push)
      found = this.#pushes.findLast(isIt)
      return found !== undefined
    }, 'there is no such push')
    this.saw('push queue', `${found!.type} for ${name}: ${found!.roomId}, ${found!.count} new, badge ${found!.badge}`)
    return found
  }

  /** As a service of this stack has it. */
  get serviceEnv(): Record<string, string> {
    return commonServiceEnv(this.#world)
  }

  /** A person on a socket of one order. The order's room may be a moment away, so a first 404 is tried again. */
  async inOrder(name: string, orderId: string, { edge, role = 'user' }: Joining): Promise<Person> {
    for (const deadlineMs = Date.now() + WAIT_MS; ; ) {
      const client = createChatClient({ url: `${this.edgeUrl(edge, 'ws')}/chat`, orderId, token: () => this.token(name, role) })
      const person = this.#add(name, client)
      const { room } = person.join(orderId)
      try {
        await client.connect()
        await this.until(() => room.phase === 'live', `${name} is not live`)
        return person
      } catch (err) {
        this.#people.splice(this.#people.indexOf(person), 1)
        await client.close()
        if ((err as { code?: string }).code !== 'room_not_found' || Date.now() > deadlineMs) throw err
        await pause(50)
      }
    }
  }

  /** Asks the api. What was made a moment ago may not be in Postgres yet, so a 404 is tried again. */
  async api(person: string, method: string, path: string, options: { readonly body?: object; readonly role?: string } = {}): Promise<any> {
    const { body = {}, role } = options
    for (const deadlineMs = Date.now() + WAIT_MS; ; await pause(20)) {
      const headers = { authorization: `Bearer ${await this.token(person, role)}`, 'content-type': 'application/json' }
      const answer = await fetch(`http://${HOST}:${this.#ports.api}${path}`, { method, headers, ...(method !== 'GET' && { body: JSON.stringify(body) }) })
      if (answer.ok) return answer.json()
      if (answer.status !== 404 || Date.now() > deadlineMs) assert.fail(`${method} ${path} answered ${answer.status}: ${await answer.text()}`)
    }
  }

  saw(name: string, line: string): void {
    const short = line.replaceAll(`.${this.run}`, '')
    const names = this.#seen.get(short) ?? []
    if (!names.includes(name)) names.push(name)
    this.#seen.set(short, names)
  }

  async end(): Promise<void> {
    await Promise.all(this.#people.map(({ client }) => client.close()))
  }

  #add(name: string, client: ChatClient, device?: string): Person {
    const seenBy = device === undefined ? name : `${name}'s ${device}`
    const person = new Person(name, this.userId(name), client, (line) => this.saw(seenBy, line))
    this.#people.push(person)
    return person
  }

  #isLevel(): boolean {
    const heads = new Map<string, number>()
    const rooms = this.#people.flatMap(({ seats, client }) => (client.state.state === 'online' ? [...seats.values()].map(({ room }) => room) : []))
    for (const { roomId, phase, lastSeq } of rooms) if (phase !== 'left') heads.set(roomId, Math.max(lastSeq, heads.get(roomId) ?? 0))
    return rooms.every(({ roomId, phase, lastSeq }) => phase === 'left' || lastSeq === heads.get(roomId))
  }

  #show(): void {
    const width = Math.max(0, ...[...this.#seen.values()].map((names) => names.join(', ').length))
    for (const [line, names] of this.#seen) console.log(`        ${names.join(', ').padEnd(width)}   ${line}`)
    this.#seen = new Map()
  }
}
