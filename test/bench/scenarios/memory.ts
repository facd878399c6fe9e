import { setTimeout as pause } from 'node:timers/promises'
import type { Bench, Scenario } from '../bench.ts'
import type { LinkSpec, ProtocolName } from '../generator/messages.ts'
import { RemoteGenerator } from '../generator/remote.ts'
import { residentMb } from '../procfs.ts'
import { formatted } from '../stats.ts'
import { bareFanOut } from '../systems/bare-fan-out.ts'
import { linksOf, tokenOf } from '../systems/links.ts'
import { OrderChat } from '../systems/order-chat.ts'
import { usualBuild } from '../systems/usual-build.ts'

type Growth = { readonly what: string; readonly firstMb: number; readonly lastMb: number; readonly mbPer1000: number }

/** One server process, the sockets that it gets, and how they are opened. */
type Subject = { readonly what: string; readonly pid: number; readonly protocol: ProtocolName; readonly links: readonly LinkSpec[] }

const GOAL_MB = 3

/** What each further thousand of silent sockets adds to a server: from a tenth of them to all. */
export const memory: Scenario = {
  name: 'memory',
  estimateS: ({ sockets, settleSeconds }) => 60 + 5 * (sockets / 400 + 2 * settleSeconds),
  async run(bench) {
    const found: Growth[] = []
    for (const subject of [unjoined, joined, bare, socketIo]) {
      bench.signal.throwIfAborted()
      found.push(...(await subject(bench)))
    }
    const ours = found.filter(({ what }) => what.startsWith('edge'))
    return {
      verdicts: [{
        measure: 'resident memory per 1,000 idle connections, edge',
        goal: `≤ ${GOAL_MB} MB`,
        measured: found.map(({ what, mbPer1000 }) => `${what} ${formatted(mbPer1000)} MB`).join('; '),
        met: ours.every(({ mbPer1000 }) => mbPer1000 <= GOAL_MB),
      }],
      tables: [{
        title: `Resident memory of one server process, MB, from ${formatted(bench.options.sockets / 10)} to ${formatted(bench.options.sockets)} idle sockets`,
        head: ['server and sockets', 'at the first', 'at the last', 'per 1,000'],
        rows: found.map(({ what, firstMb, lastMb, mbPer1000 }) => [what, formatted(firstMb), formatted(lastMb), formatted(mbPer1000)]),
      }],
      data: found,
      warnings: [],
    }
  },
}

async function unjoined(bench: Bench): Promise<Growth[]> {
  const system = new OrderChat(bench.world, { name: 'memory', only: ['room-state', 'message-persister', 'edge-1', 'api'] })
  try {
    await system.start()
    const url = system.urls()[0]!
    const links = await Promise.all(Array.from({ length: bench.options.sockets }, async (_, i) => ({ roomId: '', userId: `u${i}`, url, token: await tokenOf(bench.world, `u${i}`) })))
    return [await grow(bench, { what: 'edge, no room joined', pid: system.pidOf('edge-1'), protocol: 'order-chat', links })]
  } finally {
    await system.stop()
  }
}

async function joined(bench: Bench): Promise<Growth[]> {
  const { options, world } = bench
  const system = new OrderChat(world, { name: 'memory-joined', only: ['room-state', 'message-persister', 'edge-1', 'api'] })
  const found: Growth[] = []
  try {
    await system.start()
    const [url = ''] = system.urls()
    const pairs = await system.openRooms(options.sockets / 2, 'pairs', [url])
    const links = pairs.senders.links.flatMap((sender, i) => [sender, pairs.receivers.links[i]!])
    found.push(await grow(bench, { what: 'edge, two sockets a room', pid: system.pidOf('edge-1'), protocol: 'order-chat', links }))
    await system.stopOne('edge-1')
    await system.startOne('edge-1')
    const { senders } = await system.openRooms(options.sockets, 'singles', [url])
    found.push(await grow(bench, { what: 'edge, one socket a room', pid: system.pidOf('edge-1'), protocol: 'order-chat', links: senders.links }))
    return found
  } finally {
    await system.stop()
  }
}

async function bare(bench: Bench): Promise<Growth[]> {
  const system = bareFanOut(bench.world)
  try {
    await system.start()
    const { senders } = await system.openRooms(bench.options.sockets, 'memory')
    return [await grow(bench, { what: 'bare uWebSockets.js, one socket a topic', pid: system.pids().get('fan-out')!, protocol: 'plain', links: senders.links })]
  } finally {
    await system.stop()
  }
}

async function socketIo(bench: Bench): Promise<Growth[]> {
  const system = usualBuild(bench.world)
  try {
    await system.start()
    await system.openRooms(bench.options.sockets / 2, 'memory')
    const { senders, receivers } = await linksOf(bench.world, [system.urls()[0]!], bench.options.sockets / 2, 'memory')
    const links = senders.flatMap((sender, i) => [sender, receivers[i]!])
    return [await grow(bench, { what: 'Socket.IO, two sockets a room', pid: system.pids().get('socket-io-1')!, protocol: 'socket-io', links })]
  } finally {
    await system.stop()
  }
}

async function grow({ options, say }: Bench, { what, pid, protocol, links }: Subject): Promise<Growth> {
  const generator = new RemoteGenerator()
  const first = Math.floor(links.length / 10)
  const open = async (some: readonly LinkSpec[]) => {
    const { failures } = await generator.connect({ protocol, links: some, atOnce: 50 })
    if (failures.length > 0) throw new Error(`${what}: ${failures[0]}`)
    return settledMb(pid, options.settleSeconds)
  }
  try {
    const firstMb = await open(links.slice(0, first))
    const lastMb = await open(links.slice(first))
    const growth = { what, firstMb, lastMb, mbPer1000: ((lastMb - firstMb) / (links.length - first)) * 1_000 }
    say(`  ${what}: ${formatted(growth.mbPer1000)} MB per 1,000`)
    return growth
  } finally {
    await generator.end()
  }
}

/** The least over some seconds: the garbage of the handshakes goes by and by, when the heap is next cleaned. */
async function settledMb(pid: number, seconds: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < seconds; i++) {
    await pause(1_000)
    least = Math.min(least, residentMb(new Map([['it', pid]])).get('it')!)
  }
  return least
}
