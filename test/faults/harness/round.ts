import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { check } from '../checker/check.ts'
import { readDatabase, readLists, readPositions } from '../checker/database.ts'
import { type HistoryEntry, readHistory } from '../checker/history.ts'
import { checkLists } from '../checker/lists.ts'
import { type FaultWindow, type Pauses, pausesOf } from '../checker/pauses.ts'
import type { TopicCounts } from '../checker/fenced-topic.ts'
import type { UserPlan } from './client-plan.ts'
import { Clients } from './clients.ts'
import { Orders } from './orders.ts'
import type { World } from './world.ts'

/** A fault, played while people talk. */
export type FaultContext = {
  readonly world: World
  /** In [0, 1), seeded. */
  readonly random: () => number
  readonly say: (text: string) => void
  /** So many times: kills, rounds. */
  readonly times: number
  /** Does it, and remembers when: what the users felt of it is measured. */
  during<T>(what: string, work: () => Promise<T>): Promise<T>
  /** Events that all users together have seen so far. */
  seen(): Promise<number>
  /** Tells what must not be. */
  violated(text: string): void
  /** Figures for the report. */
  figures: Record<string, number>
}

export type RoundResult = {
  readonly violations: readonly string[]
  readonly seconds: number
  readonly sent: number
  readonly acked: number
  readonly seen: number
  readonly log: TopicCounts
  readonly unasked: readonly string[]
  readonly pauses: Readonly<Record<string, Pauses>>
  readonly figures: Readonly<Record<string, number>>
}

export type RoundOptions = {
  readonly name: string
  readonly random: () => number
  readonly say: (text: string) => void
  readonly times: number
  readonly fault: (context: FaultContext) => Promise<void>
}

/** Fatal errors that say that a guard behind the first one had to hold. */
const CORRUPTION = new Set(['log_corrupt', 'duplicate_row', 'input_position_lost'])

const ROOMS = 12
/** Each vendor talks in so many rooms over one socket. */
const ROOMS_PER_VENDOR = 3
const EVERY_MS = 250
const OPEN_WITHIN_MS = 90_000
const QUIET_WITHIN_MS = 120_000

/** People talk in rooms of their own while the fault plays; then all evidence is compared. */
export async function playRound(world: World, { name, random, say, times, fault }: RoundOptions): Promise<RoundResult> {
  const startedMs = Date.now()
  const unaskedBefore = world.crew.unasked.length
  const roomIds = Array.from({ length: ROOMS }, (_, i) => `${name}-${i}`)
  await openRooms(world, roomIds)
  await world.log.catchUp()
  const before = world.log.counts
  const clients = await startClients(world, name, roomIds)
  const orders = new Orders(world.system, name)
  const violations: string[] = []
  const windows: FaultWindow[] = []
  const figures: Record<string, number> = {}
  try {
    await until(OPEN_WITHIN_MS, async () => Object.values((await clients.status()).seen).every((seq) => seq > 0))
    orders.start()
    await pause(1_000)
    await fault({
      world, random, say, times, figures,
      during: async (what, work) => {
        const fromMs = Date.now()
        try {
          return await work()
        } finally {
          windows.push({ what, fromMs, toMs: Date.now() })
        }
      },
      seen: async () => Object.values((await clients.status()).seen).reduce((sum, seq) => sum + seq, 0),
      violated: (text) => violations.push(text),
    })
    await pause(1_000)
  } catch (err) {
    violations.push(`the scenario itself failed: ${(err as Error).stack}`)
  }
  violations.push(...(await settle(world, clients, orders)))
  await clients.stop()
  const history = await readHistory(clients.historyFiles)
  violations.push(...(await compare(world, history, clients.views, orders)))
  const unasked = world.crew.unasked.slice(unaskedBefore)
  violations.push(...unasked.flatMap(({ id, code }) => (code !== undefined && CORRUPTION.has(code) ? [`${id} ended with ${code}`] : [])))
  const now = world.log.counts
  return {
    violations,
    seconds: Math.round((Date.now() - startedMs) / 1_000),
    ...countsOf(history),
    log: { records: now.records - before.records, markers: now.markers - before.markers, voids: now.voids - before.voids },
    unasked: unasked.map(({ id, code, log }) => `${id} ended by itself${code === undefined ? '' : ` with ${code}`}:\n${log}`),
    pauses: pausesOf(history, windows),
    figures,
  }
}

async function openRooms(world: World, roomIds: readonly string[]): Promise<void> {
  for (const [i, roomId] of roomIds.entries()) await world.system.order('accepted', roomId, { customerId: `c-${roomId}`, vendorId: vendorOf(roomId, i) })
  await until(OPEN_WITHIN_MS, async () => {
    const { rows } = await world.system.pool.query('SELECT count(*)::int AS n FROM chat_rooms WHERE room_id = ANY($1)', [roomIds])
    return rows[0].n === roomIds.length
  })
}

const vendorOf = (roomId: string, i: number): string => `v-${roomId.slice(0, roomId.lastIndexOf('-'))}-${Math.floor(i / ROOMS_PER_VENDOR)}`

async function startClients(world: World, name: string, roomIds: readonly string[]): Promise<Clients> {
  const customers = await Promise.all(roomIds.map((roomId) => userPlan(world, 'raw', `c-${roomId}`, [roomId])))
  const byVendor = Map.groupBy(roomIds.map((roomId, i) => ({ roomId, vendor: vendorOf(roomId, i) })), ({ vendor }) => vendor)
  const vendors = await Promise.all([...byVendor].map(([vendor, rooms]) => userPlan(world, 'sdk', vendor, rooms.map(({ roomId }) => roomId))))
  const dir = path.join(world.dir, name)
  mkdirSync(dir, { recursive: true })
  const halves = [0, 1].map((half) => [...customers, ...vendors].filter((_, i) => i % 2 === half))
  return Clients.start(halves.map((users, i) => ({ historyFile: path.join(dir, `clients-${i + 1}.jsonl`), edgeUrl: world.edgeUrl, users })))
}

async function userPlan(world: World, kind: UserPlan['kind'], userId: string, rooms: readonly string[]): Promise<UserPlan> {
  return { userId, kind, rooms, token: await world.system.token(userId, 'user', 6 * 3_600), everyMs: EVERY_MS }
}

/** Nobody sends any more: everything under way must come to its end. What does not is told, not waited for for ever. */
async function settle(world: World, clients: Clients, orders: Orders): Promise<string[]> {
  clients.quiet()
  await orders.finish()
  const late: string[] = []
  const settled = async (what: string, isSettled: () => Promise<boolean>) => {
    if (!(await until(QUIET_WITHIN_MS, isSettled).then(() => true, () => false))) late.push(`${what}: not within ${QUIET_WITHIN_MS / 1_000} s`)
  }
  await settled('every message acked or refused', async () => (await clients.status()).unacked === 0)
  await settled('every order event applied', async () => {
    await world.log.catchUp()
    return [...orders.check(world.log.rooms)].length === 0 && (await world.log.checkInputs()).length === 0
  })
  await settled('everybody at the head of his rooms', async () => {
    const { seen } = await clients.status()
    return clients.views.every(({ user, room }) => (seen[`${user} in ${room}`] ?? 0) >= (world.log.rooms.get(room)?.length ?? 0))
  })
  await settled('the whole log in Postgres', async () => {
    await world.log.catchUp()
    const stored = await readPositions(world.system.pool)
    return [...world.log.positions].every(([p, { next, epoch }]) => next === 0n || (stored.get(p)?.next === next && stored.get(p)?.epoch === epoch))
  })
  await settled('everything told to everybody', async () => {
    await world.users.catchUp()
    const stored = await readPositions(world.system.pool, 'user-events')
    const isStored = [...world.users.positions].every(([p, { next, epoch }]) => next === 0n || (stored.get(p)?.next === next && stored.get(p)?.epoch === epoch))
    return isStored && (await world.users.checkInputs()).length === 0 && (await isFannedOut(world))
  })
  await settled("everybody's list at its head", async () => {
    await world.users.catchUp()
    const { lists } = await clients.status()
    return clients.views.every(({ user }) => lists[user] === world.users.users.get(user)?.length)
  })
  return late
}

async function isFannedOut(world: World): Promise<boolean> {
  const told = await readPositions(world.system.pool, 'inbox:room-events')
  return [...world.log.positions].every(([p, { next }]) => next === 0n || told.get(p)?.next === next)
}

async function compare(world: World, history: readonly HistoryEntry[], views: Clients['views'], orders: Orders): Promise<string[]> {
  await world.log.catchUp()
  const { log } = world
  const violations = check({ history, views, topic: log.rooms, positions: log.positions, database: await readDatabase(world.system.pool) })
  await world.users.catchUp()
  const { users } = world
  const lists = checkLists({ history, views, topic: log.rooms, users: users.users, stored: await readLists(world.system.pool) })
  return [...log.violations.splice(0), ...users.violations.splice(0), ...violations, ...lists, ...orders.check(log.rooms), ...(await log.checkInputs()), ...(await users.checkInputs())]
}

function countsOf(history: readonly HistoryEntry[]): Pick<RoundResult, 'sent' | 'acked' | 'seen'> {
  const count = (what: HistoryEntry['what']) => history.filter((entry) => entry.what === what).length
  return { sent: count('send'), acked: new Set(history.flatMap((entry) => (entry.what === 'ack' ? [entry.id] : []))).size, seen: count('saw') }
}

export async function until(withinMs: number, isSo: () => Promise<boolean>): Promise<void> {
  const deadlineMs = Date.now() + withinMs
  let last: unknown
  for (;;) {
    const so = await isSo().catch((err: unknown) => {
      last = err
      return false
    })
    if (so) return
    if (Date.now() > deadlineMs) throw new Error(`not within ${withinMs} ms`, { cause: last })
    await pause(150)
  }
}
