import { expect, test } from 'vitest'
import { type Client, MemoryEdge, user } from '../../services/edge/core/memory-edge.ts'
import { type ChatClient, createChatClient, type Room, type RoomEventFrame, type SocketConstructor } from './index.ts'
import { ManualClock, settled } from './test-support/manual-clock.ts'

/** The client against the real core of an edge: both are made from docs/protocol.md, and this is where they meet. */
type Wire = { onopen: (() => void) | null; onmessage: ((event: { data: string }) => void) | null; onclose: ((event: { code: number; reason: string }) => void) | null }

class World {
  readonly edge = new MemoryEdge()
  readonly clock = new ManualClock(this.edge.time.nowMs())
  readonly #wires: { readonly wire: Wire; readonly server: Client; told: number }[] = []
  readonly #clients: ChatClient[] = []

  client(userId: string): ChatClient {
    const world = this
    const WebSocket = class {
      #server: Client | undefined
      constructor() {
        const wire = this as unknown as Wire
        world.clock.setTimeout(() => {
          wire.onopen?.()
          this.#server = world.edge.connect(userId)
          world.#wires.push({ wire, server: this.#server, told: 0 })
        }, 1)
      }
      send(text: string): void {
        this.#server?.request(JSON.parse(text))
      }
      close(): void {}
    } as unknown as SocketConstructor
    const client = createChatClient({ url: 'ws://memory/ws/chat', token: () => userId, ports: { WebSocket, clock: this.clock, random: () => 0.5 } })
    void client.connect()
    this.#clients.push(client)
    return client
  }

  async run(ms = 1_000): Promise<void> {
    for (let at = 0; at < ms; at += 50) {
      await this.edge.run(50)
      await this.clock.advance(50)
      for (const one of this.#wires) {
        const { frames } = one.server.socket
        for (const frame of frames.slice(one.told)) one.wire.onmessage?.({ data: JSON.stringify(frame) })
        one.told = frames.length
      }
      await settled()
    }
  }

  /** What a promise ends with, once the world has had its time. */
  async outcome<T>(promise: Promise<T>): Promise<T> {
    await this.run()
    return promise
  }

  async end(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()))
  }
}

function keep(room: Room): RoomEventFrame[] {
  const events: RoomEventFrame[] = []
  room.on('event', (event) => events.push(event))
  return events
}

test('what is made from an own ack is what everybody else gets, of messages and of everything else', async () => {
  const world = new World()
  const [ann, ben] = [world.client('ann'), world.client('ben')]
  await world.run()
  const { roomId } = await world.outcome(ann.createConversation({ kind: 'group', participants: ['ben', 'cem'], name: 'Team', metadata: { a: 'b' } }))
  const [a, b] = [ann.join(roomId), ben.join(roomId)]
  const [seenByAnn, seenByBen] = [keep(a), keep(b)]
  await world.run()
  const first = await world.outcome(a.send('the first', { mentions: ['ben'] }).done)
  const reply = await world.outcome(a.send('', { replyTo: first.messageId, messageType: 'location', location: { latitude: 52.5, longitude: 13.4, label: 'here' }, productId: 'p-1' }).done)
  expect(reply.replyToSeq).toBe(first.seq)
  const asked = [
    a.edit(first.messageId, 'The first'),
    a.react(first.messageId, '👍'),
    b.react(first.messageId, '👎'),
    a.change({ name: 'Team!', metadata: {} }),
    a.addParticipant('dan', 'observer'),
    a.removeParticipant('dan'),
    b.removeParticipant('cem').catch((err) => err),
    a.delete(reply.messageId),
    a.delete(reply.messageId),
  ]
  b.markSeen(2)
  const outcomes = await world.outcome(Promise.all(asked))
  expect(outcomes[6]).toMatchObject({ code: 'not_allowed' })
  expect(outcomes[8]).toMatchObject({ unchanged: true })
  expect(seenByAnn.map(({ seq }) => seq)).toEqual(Array.from({ length: 11 }, (_, i) => i + 1))
  expect(seenByAnn).toEqual(seenByBen)
  expect([a.unread, b.unread]).toEqual([0, 0])
  expect(world.edge.troubles).toEqual([])
  await world.end()
})

test('who comes later into a room that is shown from there begins there, and leaves with an ack', async () => {
  const world = new World()
  const [ann, cem] = [world.client('ann'), world.client('cem')]
  await world.run()
  const { roomId } = await world.outcome(ann.createConversation({ kind: 'group', participants: ['ben'], history: 'fromJoin' }))
  expect(await world.outcome(ann.createConversation({ kind: 'direct', participants: ['ben'] }))).toMatchObject({ seq: 1, unchanged: false })
  const a = ann.join(roomId)
  await world.run()
  await world.outcome(a.send('before').done)
  const { seq } = await world.outcome(a.addParticipant('cem'))
  const c = cem.join(roomId)
  const seen = keep(c)
  const left: string[] = []
  c.on('left', ({ code }) => left.push(code))
  await world.run()
  await world.outcome(a.send('after').done)
  expect([c.phase, seen.map((event) => event.seq)]).toEqual(['live', [seq, seq + 1]])
  expect(await world.outcome(c.removeParticipant('cem'))).toMatchObject({ seq: seq + 2, event: { event: 'participantRemoved', userId: user('cem'), reason: 'left' } })
  expect(left).toEqual(['not_a_participant'])
  expect(seen.at(-1)).toMatchObject({ seq: seq + 2, event: 'participantRemoved' })
  await world.end()
})
