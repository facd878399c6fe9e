import { WebSocket } from 'ws'
import { afterEach, beforeEach, expect, vi } from 'vitest'
import { type ChatClient, type ClientOptions, type ClientState, createChatClient, type Room, type RoomEventFrame, type SocketConstructor } from '../index.ts'
import { ManualClock } from './manual-clock.ts'
import { WsServer } from './ws-server.ts'

/** Tests only wait for things to happen, never for time to pass; a loaded machine may take its time. */
export const TEST_TIMEOUT_MS = 30_000

export const eventually = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 20_000, interval: 2 })

/** A server on real sockets and clients whose time stands still, new for each test of a file. */
export function useServer() {
  const clients: ChatClient[] = []
  const fixture = { server: undefined as unknown as WsServer, clock: new ManualClock(), newClient }

  beforeEach(async () => {
    fixture.clock = new ManualClock()
    fixture.server = await WsServer.start(() => fixture.clock.nowMs())
  })
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.close()))
    await fixture.server.stop()
  })

  function newClient(options: Partial<ClientOptions> = {}) {
    const ports = { WebSocket: WebSocket as unknown as SocketConstructor, clock: fixture.clock, random: () => 0.5, ...options.ports }
    const client = createChatClient({ url: fixture.server.url, token: () => 'alice', ...options, ports })
    clients.push(client)
    const states: ClientState[] = []
    client.on('state', (state) => states.push(state))
    return Object.assign(client, { states })
  }

  return fixture
}

export function watch(room: Room) {
  const events: RoomEventFrame[] = []
  const left: string[] = []
  room.on('event', (event) => events.push(event))
  room.on('left', ({ code }) => left.push(code))
  return { events, left, seqs: () => events.map((event) => event.seq), texts: () => events.map((event) => (event.type === 'newMessage' ? event.content : event.event)) }
}

export const isOnline = (client: ChatClient) => eventually(() => expect(client.state.state).toBe('online'))
export const isOffline = (client: ChatClient) => eventually(() => expect(client.state.state).toBe('offline'))
export const isLive = (room: Room) => eventually(() => expect(room.phase).toBe('live'))

/** Waits out the pause of an offline client. */
export async function reconnect(client: ChatClient, clock: ManualClock): Promise<void> {
  await isOffline(client)
  await clock.advance(client.state.state === 'offline' ? client.state.retryInMs : 0)
  await isOnline(client)
}
