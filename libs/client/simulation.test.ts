import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ClientFrame } from '#libs/domain/frames.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import { type ChatClient, type ChatClientError, createChatClient, type InboxSnapshot, MemoryOutboxStorage, type MessageExtras, type NewMessageFrame, type Room, type RoomEventFrame } from './index.ts'
import { ManualClock, settled } from './test-support/manual-clock.ts'
import { MemoryNetwork } from './test-support/memory-network.ts'
import { viewsOf } from './test-support/room-model.ts'
import { ServerModel } from './test-support/server-model.ts'

/** Small, seeded, good enough: one seed replays any failure. */
function mulberry32(seed: number): () => number {
  let a = seed
  return () => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

const rooms = ['o-1', 'o-2', 'later'] as const
/** Alice came into this one with its third event, and is shown nothing older. */
const VISIBLE_FROM = 3
const firstSeqOf = (roomId: string) => (roomId === 'later' ? VISIBLE_FROM : 1)

/** One edit, deletion or reaction, with a text that only its event has. */
type Asked = { readonly roomId: string; readonly mark: string; readonly life: number; outcome?: { readonly seq: number } | ChatClientError }

/** An app over a network that cuts, swallows, repeats, refuses and falls silent, as its seed says. */
class Simulation {
  readonly clock = new ManualClock()
  readonly model = new ServerModel(() => this.clock.nowMs())
  readonly network: MemoryNetwork
  readonly random: () => number
  readonly storage = new MemoryOutboxStorage()
  /** What the app keeps of each room, over all its clients. */
  readonly seen = new Map<string, RoomEventFrame[]>(rooms.map((roomId) => [roomId, []]))
  readonly written: { readonly roomId: string; readonly text: string; readonly id: string }[] = []
  readonly acked: string[] = []
  readonly failed: string[] = []
  readonly asked: Asked[] = []
  /** The highest messageIndex that this client was told is seen. */
  readonly marked = new Map<string, number>()
  /** What this client has muted last, until when. */
  readonly muted = new Map<string, number>()
  /** The list of chats, as the app keeps it over its clients. */
  list: InboxSnapshot | undefined
  #life = 0
  #faulty = true
  #client: ChatClient

  constructor(seed: number) {
    this.random = mulberry32(seed)
    this.network = new MemoryNetwork(this.model, this.clock)
    this.network.copies = () => (this.#happens(0.05) ? 2 : 1)
    this.model.onPush = () => !this.#happens(0.1)
    this.model.onRequest = (frame) => this.#verdict(frame)
    for (let i = 1; i < VISIBLE_FROM; i++) this.model.append('later', 'bob', 'not for alice')
    this.model.update('later', { event: 'participantAdded', userId: 'alice', role: 'member' })
    this.model.room('later').visibleFrom.set('alice', VISIBLE_FROM)
    for (const roomId of rooms) this.model.inbox.change('alice', roomId, 'roomAdded')
    this.#client = this.#start()
  }

  async step(): Promise<void> {
    const roomId = rooms[Math.floor(this.random() * rooms.length)]!
    const dice = this.random()
    if (dice < 0.25) this.#write(roomId)
    else if (dice < 0.37) this.#ask(roomId)
    else if (dice < 0.41) this.#mark(roomId)
    else if (dice < 0.43) this.#client.join(roomId).typing(this.random() < 0.5)
    else if (dice < 0.55) this.model.append(roomId, 'bob', `bob ${this.random()}`)
    else if (dice < 0.6) this.#cable()?.cut()
    else if (dice < 0.62) this.#cable()?.silence()
    else if (dice < 0.65) this.#cable()?.connection.close(this.random() < 0.5 ? 'shutting_down' : 'slow_consumer', 200)
    else if (dice < 0.7) this.network.refuse = this.network.refuse ? undefined : 'shutting_down'
    else if (dice < 0.72) await this.#restart()
    else if (dice < 0.77) this.model.heartbeat()
    else if (dice < 0.87) this.model.inbox.change('alice', this.random() < 0.2 ? `new-${Math.floor(this.random() * 9)}` : roomId, 'unreadChanged', { unread: Math.floor(this.random() * 9), status: this.random() < 0.1 ? 'left' : 'in' })
    else if (dice < 0.92) this.#mute(roomId)
    await this.clock.advance(this.random() ** 3 * 8_000)
  }

  /** The faults end; what is still on its way comes to its end. */
  async heal(): Promise<void> {
    this.#faulty = false
    this.network.refuse = undefined
    for (let i = 0; i < 20; i++) {
      await this.clock.advance(10_000)
      this.model.heartbeat()
    }
    await this.clock.advance(1_000)
    expect(this.#client.inbox.phase).toBe('live')
    this.list = this.#client.inbox.snapshot
    await this.#client.close()
    // What the network itself still carries.
    await this.clock.advance(100)
  }

  #start(): ChatClient {
    const { network, clock, random, storage } = this
    const randomBytes = (length: number) => Uint8Array.from({ length }, () => Math.floor(random() * 256))
    const ports = { WebSocket: network.WebSocket, fetch: network.fetch, clock, random, randomBytes }
    const client = createChatClient({ url: 'ws://memory/ws/chat', token: async () => 'alice', storage, ports })
    client.on('acked', (ack) => this.acked.push(ack.clientMessageId))
    client.on('failed', ({ clientMessageId }) => this.failed.push(clientMessageId))
    for (const roomId of rooms) {
      const seen = this.seen.get(roomId)!
      client.join(roomId, { since: seen.at(-1)?.seq ?? 0 }).on('event', (event) => seen.push(event))
    }
    client.inbox.start(this.list)
    void client.connect()
    return client
  }

  async #restart(): Promise<void> {
    this.list = this.#client.inbox.snapshot
    await this.#client.close()
    this.#life++
    this.marked.clear()
    this.muted.clear()
    this.#client = this.#start()
    await settled()
  }

  #write(roomId: string): void {
    const text = `${this.random() < 0.1 ? 'bad' : 'alice'} ${this.written.length}`
    const { clientMessageId } = this.#client.join(roomId).send(text, this.#extras(roomId))
    this.written.push({ roomId, text, id: clientMessageId })
  }

  #extras(roomId: string): MessageExtras {
    const root = this.#messageOf(roomId)
    if (this.random() < 0.3 && root) return { replyTo: root.messageId, mentions: ['bob'] }
    return this.random() < 0.2 ? { productId: 'p-1', location: { latitude: 1, longitude: 2 } } : {}
  }

  /** A message that the app has seen. */
  #messageOf(roomId: string): NewMessageFrame | undefined {
    const messages = this.seen.get(roomId)!.filter((event) => event.type === 'newMessage')
    return messages[Math.floor(this.random() * messages.length)]
  }

  #ask(roomId: string): void {
    const message = this.#messageOf(roomId)
    if (!message) return
    const asked: Asked = { roomId, mark: `mark-${this.asked.length}`, life: this.#life }
    this.asked.push(asked)
    const end = (outcome: { readonly seq: number } | ChatClientError) => {
      expect(asked.outcome).toBeUndefined()
      asked.outcome = outcome
    }
    this.#request(this.#client.join(roomId), message.messageId, asked.mark).then(end, end)
  }

  #request(room: Room, messageId: string, mark: string) {
    const dice = this.random()
    if (dice < 0.5) return room.react(messageId, mark)
    return dice < 0.8 ? room.edit(messageId, mark) : room.change({ name: mark })
  }

  #mute(roomId: string): void {
    const untilMs = Math.floor(this.random() * 4)
    void this.#client.inbox.mute(roomId, untilMs)
    this.muted.set(roomId, untilMs)
  }

  #mark(roomId: string): void {
    const index = this.#messageOf(roomId)?.messageIndex
    if (index === undefined) return
    this.#client.join(roomId).markSeen(index)
    this.marked.set(roomId, Math.max(index, this.marked.get(roomId) ?? 0))
  }

  #cable() {
    return [...this.network.cables][0]
  }

  #happens(probability: number): boolean {
    return this.#faulty && this.random() < probability
  }

  #verdict(frame: ClientFrame) {
    // A refusal for good is the message's own: it holds before, during and after the faults.
    if (frame.type === 'sendMessage' && frame.message.startsWith('bad')) return { code: 'content_invalid' } as const
    if (this.#happens(0.08)) return 'loseReply'
    const ofRoom = ['sendMessage', 'editMessage', 'react', 'changeRoom', 'mark'].includes(frame.type)
    if (frame.type === 'setChat' && this.#happens(0.1)) return { code: 'unavailable' } as const
    if (frame.type === 'sync' && this.#happens(0.1)) return { code: 'history_unavailable' } as const
    if (ofRoom && this.#happens(0.1)) return { code: 'rate_limited', retryAfterMs: 300 } as const
    if (ofRoom && this.#happens(0.03)) return { code: 'not_joined' } as const
    if (frame.type === 'join' && this.#happens(0.1)) return { code: 'history_unavailable' } as const
    return undefined
  }
}

/** Each ended once; what was acknowledged is in the log once, at that place, and in the order of asking. */
function checkAsked(run: Simulation, roomId: string, log: readonly RoomEventFrame[]): void {
  const asked = run.asked.filter((one) => one.roomId === roomId)
  const last = new Map<number, number>()
  for (const { mark, life, outcome } of asked) {
    const made = log.filter((event) => event.type === 'roomUpdated' && JSON.stringify(event).includes(`"${mark}"`)).map(({ seq }) => seq)
    expect(made.length).toBeLessThanOrEqual(1)
    if (outcome instanceof Error) {
      // A new client knows nothing of what the last one asked for.
      expect(outcome.code).toBe('client_closed')
      continue
    }
    expect([outcome?.seq]).toEqual(made)
    expect(outcome!.seq).toBeGreaterThan(last.get(life) ?? 0)
    last.set(life, outcome!.seq)
  }
}

test('whatever happens to the network, the app sees the log as it is and every message ends once', { timeout: 60_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), async (seed) => {
      const run = new Simulation(seed)
      for (let i = 0; i < 80; i++) await run.step()
      await run.heal()
      for (const roomId of rooms) {
        const log = run.model.room(roomId).events
        const seen = run.seen.get(roomId)!
        expect(seen.map(({ seq }) => seq)).toEqual(log.slice(firstSeqOf(roomId) - 1).map(({ seq }) => seq))
        // Own messages and requests too are given exactly as everybody else gets them; a replay shows what they have become.
        for (const event of seen) expect(viewsOf(log, log[event.seq - 1]!)).toContainEqual(event)
        checkAsked(run, roomId, log)
        expect(run.model.room(roomId).receipts.get('alice')?.seen ?? 0).toBeGreaterThanOrEqual(run.marked.get(roomId) ?? 0)
        const mine = log.flatMap((event) => (event.type === 'newMessage' && event.senderId === 'alice' ? event.clientMessageId : []))
        expect(mine).toEqual(run.written.filter((message) => message.roomId === roomId && !message.text.startsWith('bad')).map((message) => message.id))
      }
      const { inbox } = run.model
      expect(run.list).toMatchObject({ cursor: inbox.list('alice').userSeq, totals: inbox.totalsOf('alice') })
      expect(new Set(run.list!.chats)).toEqual(new Set(inbox.chatsOf('alice')))
      for (const [roomId, untilMs] of run.muted) expect(inbox.list('alice').chats.get(roomId as RoomId)!.chat.mutedUntilMs ?? 0).toBe(untilMs)
      const ids = (bad: boolean) => run.written.filter(({ text }) => text.startsWith('bad') === bad).map(({ id }) => id)
      expect([...run.acked].sort()).toEqual(ids(false).sort())
      expect([...run.failed].sort()).toEqual(ids(true).sort())
      for (const send of run.model.sends) expect(run.written).toContainEqual({ roomId: send.roomId, text: send.message, id: send.clientMessageId })
      expect(run.storage.entries.size).toBe(0)
      expect(run.clock.timers).toBe(0)
    }),
    { numRuns: 60 },
  )
})

test('a token is renewed on the open socket, ahead of each expiry', async () => {
  const clock = new ManualClock()
  const model = new ServerModel(() => clock.nowMs())
  const network = new MemoryNetwork(model, clock)
  const expiries: number[] = []
  const renewedAt: number[] = []
  const token = () => {
    renewedAt.push(clock.nowMs())
    expiries.push(clock.nowMs() + 600_000)
    return `alice/${expiries.at(-1)}`
  }
  const client = createChatClient({ url: 'ws://memory/ws/chat', token, ports: { WebSocket: network.WebSocket, fetch: network.fetch, clock, random: () => 0.5 } })
  void client.connect()
  for (let i = 0; i < 120; i++) {
    await clock.advance(20_000)
    model.heartbeat()
  }
  expect(renewedAt.length).toBe(5)
  for (let i = 1; i < renewedAt.length; i++) {
    expect(renewedAt[i]!).toBeLessThan(expiries[i - 1]!)
    expect(renewedAt[i]!).toBeGreaterThan(expiries[i - 1]! - 120_000)
  }
  expect(network.handshakes).toBe(1)
  await client.close()
})

test('a provider that gives the same token again is not asked in a circle', async () => {
  const clock = new ManualClock()
  const model = new ServerModel(() => clock.nowMs())
  const network = new MemoryNetwork(model, clock)
  let asked = 0
  const expiresAtMs = clock.nowMs() + 60_000
  const token = () => (asked++, `alice/${expiresAtMs}`)
  const client = createChatClient({ url: 'ws://memory/ws/chat', token, ports: { WebSocket: network.WebSocket, fetch: network.fetch, clock, random: () => 0.5 } })
  void client.connect()
  for (let i = 0; i < 3; i++) {
    await clock.advance(20_000)
    model.heartbeat()
  }
  expect(asked).toBeLessThan(10)
  await client.close()
})
