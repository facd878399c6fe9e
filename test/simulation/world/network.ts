import type { HandshakeRequest } from '../../../services/edge/handshake.ts'
import type { Process } from './process.ts'
import { Wire, type ClientEnd } from './wire.ts'
import type { World } from './world.ts'

/** Where an edge listens. */
export type Door = {
  readonly process: Process
  /** Answers with `wire.accept` or `wire.refuse`. */
  readonly upgrade: (request: HandshakeRequest, wire: Wire) => Promise<void>
  readonly probe: (request: HandshakeRequest) => Promise<{ readonly status: number; readonly body: string }>
}

/** What is looked at on each wire, at the edge's end. */
export type Tap = {
  fromClient(wire: Wire, text: string): void
  fromServer(wire: Wire, text: string): void
  closed(wire: Wire): void
}

/** Between clients and edges; a name that is no edge's goes to any of them, as behind a load balancer. */
export class Network {
  readonly world: World
  readonly doors = new Map<string, Door>()
  readonly wires = new Set<Wire>()
  tap: Tap | undefined
  /** Clients that have no network at all. */
  readonly offline = new Set<Process>()

  constructor(world: World) {
    this.world = world
  }

  connect(client: Process, url: string, protocols: readonly string[], end: ClientEnd): Wire {
    const wire = new Wire(this, client, end)
    this.wires.add(wire)
    this.#reach(client, url, 'upgrade', (door) => wire.arrive(door, requestOf(url, protocols)), () => wire.refuse())
    return wire
  }

  /** A plain GET; rejects where there is no answer at all. */
  fetch(client: Process, url: string, token: string): Promise<{ readonly status: number; text(): Promise<string> }> {
    return new Promise((resolve, reject) => {
      const failed = () => void client.hear(client.latencyMs(), 'no answer', () => reject(new Error('fetch failed')))
      this.#reach(client, url, 'GET', (door) => {
        door.probe(requestOf(url, [], token)).then(
          ({ status, body }) => client.hear(client.latencyMs(), `GET: ${status}`, () => resolve({ status, text: async () => body })),
          failed,
        )
      }, failed)
    })
  }

  #reach(client: Process, url: string, what: string, onDoor: (door: Door) => void, onNothing: () => void): void {
    this.world.serve(client.latencyMs(), `${client.name} → ${what} ${new URL(url).pathname}`, () => {
      const door = this.offline.has(client) ? undefined : this.#doorOf(new URL(url).hostname)
      if (!door?.process.alive) onNothing()
      else door.process.hear(0, `${what} from ${client.name}`, () => onDoor(door))
    })
  }

  #doorOf(host: string): Door | undefined {
    const open = [...this.doors.values()].filter(({ process }) => process.alive)
    return this.doors.get(host) ?? (open.length > 0 ? this.world.random.pick(open) : undefined)
  }
}

function requestOf(url: string, protocols: readonly string[], token?: string): HandshakeRequest {
  const { pathname, searchParams } = new URL(url)
  return { path: pathname as HandshakeRequest['path'], query: searchParams, authorization: token === undefined ? '' : `Bearer ${token}`, origin: '', protocols: protocols.join(', ') }
}
