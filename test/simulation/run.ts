import { inputTopics, topics } from '#libs/streams/topics.ts'
import { checkPostgres } from './checks/at-end.ts'
import { checkOrders } from './checks/orders.ts'
import { checkpointOf, checkRestored, checkSnapshots } from './checks/snapshots.ts'
import { injectFault } from './faults.ts'
import { planOf } from './plan.ts'
import { build, customerOf, RIDERS, type Town, vendorOf } from './town.ts'
import { enter } from './world/sealed.ts'
import { type Violation, World } from './world/world.ts'

export type RunResult = {
  readonly seed: number
  readonly digest: string
  readonly events: number
  readonly virtualMs: number
  readonly violation: Violation | undefined
  /** The end of the history, or all of it where that was asked for. */
  readonly trace: readonly string[]
}

/** Longer than any wait, retry or late landing of a calm world. */
const SETTLE_MS = 90_000
const LATE_LANDINGS_MS = 11_000

/** One seed, from an empty system to its end. */
export async function runSeed(seed: number, options: { readonly keepTrace?: boolean } = {}): Promise<RunResult> {
  const world = new World(seed, options.keepTrace)
  enter(world)
  const onStranger = (err: unknown) => world.fail('no-fatal-error', `an unhandled rejection: ${err instanceof Error ? err.stack : String(err)}`)
  process.on('unhandledRejection', onStranger)
  try {
    await play(build(world, planOf(world.random)))
  } catch (err) {
    onStranger(err)
  } finally {
    process.off('unhandledRejection', onStranger)
  }
  if (world.violation) world.note(`VIOLATED ${world.violation.invariant}: ${world.violation.message}`)
  const { events } = world.trace
  return { seed, digest: world.trace.digest(), events, virtualMs: world.elapsedMs, violation: world.violation, trace: world.trace.lines() }
}

async function play(town: Town): Promise<void> {
  const { world, plan } = town
  watch(town)
  for (const slots of Object.values(town.slots)) for (const slot of slots) slot.start()
  for (const user of town.sdkUsers) user.start()
  for (const roomId of town.rooms) if (world.random.chance(0.9)) town.orders.accept(roomId, customerOf(roomId), vendorOf(roomId))
  for (const ms of [...plan.skips, undefined]) {
    world.calm = false
    everySoOften(town, plan.actionEveryMs, 'somebody does something', () => act(town))
    everySoOften(town, plan.faultEveryMs, 'something breaks', () => injectFault(town))
    await world.run(plan.activeMs)
    await settle(town)
    if (ms === undefined || world.violation) break
    world.skip(ms)
    clean(town)
  }
  if (world.violation) return
  checkPostgres(town.servers, town.truth)
  checkOrders(town)
  town.wires.checkAnswers()
  for (const user of town.sdkUsers) user.check()
}

/** The checks that go on all the time. */
function watch({ world, plan, servers, truth }: Town): void {
  const { kafka, postgres } = servers
  for (let p = 0; p < plan.partitions; p++) kafka.snapshots(p).onCommitted(() => checkSnapshots(world, kafka, truth, p))
  servers.probes.onTakenOver = (partition, epoch, rooms) => checkRestored(world, kafka, truth, partition, epoch, rooms)
  const stood = new Map<string, number>()
  postgres.onCommitted = () => {
    for (const { partition, nextOffset, ownerEpoch } of postgres.tables.offsets.rows.values()) {
      const name = `${topics.roomEvents.name}/${partition}`
      if (nextOffset < (stood.get(name) ?? 0)) world.fail('positions', `Postgres goes back to ${nextOffset} in ${name}`)
      if (nextOffset > kafka.log(topics.roomEvents.name, partition).high) world.fail('postgres', `stands at ${nextOffset} in ${name}, which is above its end`)
      else if (ownerEpoch !== truth.epochBelow(partition, nextOffset)) world.fail('postgres', `has epoch ${ownerEpoch} at ${name} @${nextOffset}, the log ${truth.epochBelow(partition, nextOffset)}`)
      stood.set(name, nextOffset)
    }
  }
}

/** Again and again, as long as there is trouble. */
function everySoOften({ world }: Town, everyMs: number, label: string, work: () => void): void {
  const next = () => {
    if (world.calm) return
    work()
    world.act(world.random.next() * 2 * everyMs, label, next)
  }
  world.act(world.random.next() * everyMs, label, next)
}

/** What people do. */
function act({ world, rooms, conversations, people, orders, sdkUsers, rawUsers, direct }: Town): void {
  const { random } = world
  const roomId = random.pick(rooms)
  const anyRoom = random.pick([...rooms, ...conversations.map((c) => c.roomId)])
  const others = sdkUsers.length + rawUsers.length === 0
  const what = random.weighted({ sdk: sdkUsers.length * 2, raw: rawUsers.length * 2, direct: others ? 4 : 1, resend: others ? 2 : 0.5, change: others ? 3 : 1, create: conversations.length > 0 ? 0.5 : 0, block: conversations.length > 0 ? 0.2 : 0, garbage: 0.1, accept: 0.3, assign: 0.8, end: 0.08, poison: 0.1 })
  if (what === 'sdk') random.pick(sdkUsers).write()
  else if (what === 'raw') random.pick(rawUsers).act()
  else if (what === 'direct') direct.send(random.chance(0.7) ? roomId : anyRoom, random.pick([customerOf(roomId), vendorOf(roomId), ...RIDERS]))
  else if (what === 'change') direct.change(anyRoom, people, conversations.find((c) => c.roomId === anyRoom)?.creatorId)
  else if (what === 'create') direct.create(random.pick(conversations))
  else if (what === 'block') direct.block(random.pick(conversations).roomId, random.pick(people), random.pick(people))
  else if (what === 'resend') direct.resend()
  else if (what === 'garbage') direct.garbage(roomId)
  else if (what === 'accept') orders.accept(roomId, customerOf(roomId), vendorOf(roomId))
  else if (what === 'assign') orders.assign(roomId, random.pick(RIDERS))
  else if (what === 'end') orders.end(roomId, random.pick(['delivered', 'cancelled'] as const))
  else orders.poison(roomId)
}

/** The faults end; whatever is under way must come to its end, in bounded time. */
async function settle(town: Town): Promise<void> {
  const { world, servers, slots, sdkUsers } = town
  world.calm = true
  world.note('calm')
  for (const process of world.processes) process.wake()
  for (const slot of Object.values(slots).flat()) slot.start()
  for (const user of sdkUsers) if (!user.process?.alive) user.start()
  servers.network.offline.clear()
  servers.postgres.downUntilMs = servers.redis.downUntilMs = servers.registry.downUntilMs = servers.sqs.downUntilMs = 0
  const done = () => unsettled(town) === undefined
  await world.run(SETTLE_MS, done)
  // What was sent long ago may still land, and shake it once more.
  await world.run(LATE_LANDINGS_MS)
  if (!(await world.run(SETTLE_MS, done)) && !world.violation) world.fail('liveness', `after ${SETTLE_MS} calm ms: ${unsettled(town)}`)
}

/** What retention and compaction have done meanwhile. */
function clean({ plan, servers, truth }: Town): void {
  const { kafka, postgres } = servers
  kafka.compact()
  for (let p = 0; p < plan.partitions; p++) {
    for (const { name, retentionMs } of [topics.orderEvents, topics.chatCommands]) kafka.expire(name, p, retentionMs, Math.min(truth.nextInput(p, name), checkpointOf(kafka, p)?.inputs.get(name) ?? 0))
    const stands = postgres.tables.offsets.rows.get(`${topics.roomEvents.name}/${p}`)?.nextOffset ?? 0
    kafka.expire(topics.roomEvents.name, p, topics.roomEvents.retentionMs, Math.min(stands, checkpointOf(kafka, p)?.nextOffset ?? 0))
  }
}

/** What has not come to its end. */
function unsettled({ plan, servers, truth, sdkUsers }: Town): string | undefined {
  const { kafka, postgres, sqs } = servers
  for (let p = 0; p < plan.partitions; p++) {
    for (const topic of inputTopics) {
      const { high } = kafka.log(topic, p)
      if (truth.nextInput(p, topic) < high) return `${topic}/${p} is applied up to ${truth.nextInput(p, topic)} of ${high}`
    }
    const stands = postgres.tables.offsets.rows.get(`${topics.roomEvents.name}/${p}`)?.nextOffset ?? 0
    const { high } = kafka.log(topics.roomEvents.name, p)
    if (stands < high) return `Postgres stands at ${stands} of ${high} in partition ${p}`
  }
  if (plan.counts.bridges > 0 && sqs.messages.size > 0) return `${sqs.messages.size} messages are in SQS`
  for (const user of sdkUsers) {
    const why = user.unsettled()
    if (why) return why
  }
  return undefined
}

