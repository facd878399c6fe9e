import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { feedInputTopics, inputTopics, topics } from '#libs/streams/topics.ts'
import { checkInbox } from './checks/inbox-at-end.ts'
import { checkPostgres } from './checks/at-end.ts'
import { checkOrders } from './checks/orders.ts'
import { checkpointOf, checkRestored, checkSnapshots } from './checks/snapshots.ts'
import { checkUserSnapshots, checkUsersRestored, feedCheckpointOf } from './checks/user-snapshots.ts'
import { injectFault } from './faults.ts'
import { FAN_OUT } from './parts/inbox.ts'
import { planOf } from './plan.ts'
import { build, customerOf, RIDERS, type Town, vendorOf } from './town.ts'
import type { Conversation } from './users/commands.ts'
import type { DirectSender } from './users/direct-sender.ts'
import { ofRooms, ofUsers } from './world/kafka.ts'
import type { Random } from './world/random.ts'
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
  const first = town.rooms[0]!
  watch(town)
  for (const slots of Object.values(town.slots)) for (const slot of slots) slot.start()
  for (const user of town.sdkUsers) user.start()
  for (const roomId of town.rooms) if (world.random.chance(0.9)) town.orders.accept(roomId, customerOf(roomId), vendorOf(roomId))
  for (const ms of [...plan.skips, undefined]) {
    world.calm = false
    everySoOften(town, plan.actionEveryMs, 'somebody does something', () => act(town))
    everySoOften(town, plan.faultEveryMs, 'something breaks', () => injectFault(town))
    await world.run(plan.activeMs)
    // Chats that have ended are let go of when another one comes much later.
    if (ms !== undefined && plan.counts.inboxes > 0) town.orders.end(first, 'delivered')
    await settle(town)
    if (ms === undefined || world.violation) break
    world.skip(ms)
    clean(town)
    if (plan.counts.inboxes > 0) town.orders.accept('order-much-later' as RoomId, customerOf(first), vendorOf(first))
  }
  if (world.violation) return
  checkPostgres(town.servers, town.truth)
  if (plan.counts.inboxes > 0) checkInbox(town.servers, town.users)
  checkOrders(town)
  town.wires.checkAnswers()
  for (const user of town.sdkUsers) user.check()
}

/** The checks that go on all the time. */
function watch({ world, plan, servers, truth, users }: Town): void {
  const { kafka, postgres } = servers
  for (let p = 0; p < plan.partitions; p++) kafka.snapshots(ofRooms, p).onCommitted(() => checkSnapshots(world, kafka, truth, p))
  for (let p = 0; p < plan.partitions; p++) kafka.snapshots(ofUsers, p).onCommitted(() => checkUserSnapshots(world, kafka, users, p))
  servers.probes.onTakenOver = (partition, epoch, rooms) => checkRestored(world, kafka, truth, partition, epoch, rooms)
  servers.probes.onFeedTakenOver = (partition, epoch, restored) => checkUsersRestored(world, kafka, users, partition, epoch, restored)
  const stood = new Map<string, number>()
  postgres.onCommitted = () => {
    for (const { topic, partition, nextOffset, ownerEpoch } of postgres.tables.offsets.rows.values()) {
      const name = `${topic}/${partition}`
      const [log, valid] = topic === topics.userEvents.name ? [topic, users.log] : [topics.roomEvents.name, truth]
      if (nextOffset < (stood.get(name) ?? 0)) world.fail('positions', `Postgres goes back to ${nextOffset} in ${name}`)
      if (nextOffset > kafka.log(log, partition).high) world.fail('postgres', `stands at ${nextOffset} in ${name}, which is above its end`)
      else if (ownerEpoch !== valid.epochBelow(partition, nextOffset)) world.fail('postgres', `has epoch ${ownerEpoch} at ${name} @${nextOffset}, the log ${valid.epochBelow(partition, nextOffset)}`)
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
function act({ world, plan, truth, rooms, conversations, people, orders, sdkUsers, rawUsers, direct }: Town): void {
  const { random } = world
  const roomId = random.pick(rooms)
  const anyRoom = random.pick([...rooms, ...conversations.map((c) => c.roomId)])
  const others = sdkUsers.length + rawUsers.length === 0
  const what = random.weighted({ sdk: sdkUsers.length * 2, raw: rawUsers.length * 2, direct: others ? 4 : 1, resend: others ? 2 : 0.5, change: others ? 3 : 1, create: conversations.length > 0 ? 0.5 : 0, block: conversations.length > 0 ? 0.4 : 0, comeAndGo: conversations.length > 0 && rawUsers.length > 0 ? 0.8 : 0, moderate: 0.4, setChat: plan.counts.inboxes > 0 ? (others ? 1 : 0.3) : 0, garbage: 0.1, accept: 0.3, assign: 0.8, end: 0.08, poison: 0.1 })
  if (what === 'sdk') random.pick(sdkUsers).write()
  else if (what === 'raw') random.pick(rawUsers).act()
  else if (what === 'direct') direct.send(random.chance(0.7) ? roomId : anyRoom, random.pick([customerOf(roomId), vendorOf(roomId), ...RIDERS]), people)
  else if (what === 'change') direct.change(anyRoom, people, conversations.find((c) => c.roomId === anyRoom))
  else if (what === 'create') direct.create(random.pick(conversations))
  else if (what === 'block') block(random, direct, random.pick(conversations), people)
  else if (what === 'comeAndGo') direct.comeAndGo(conversations.find(({ kind }) => kind === 'group')!, random.pick(rawUsers).userId)
  else if (what === 'setChat') direct.setChat(random.pick(people), anyRoom)
  else if (what === 'moderate') direct.moderate(anyRoom, truth.rooms.get(anyRoom)?.events ?? [], people)
  else if (what === 'resend') direct.resend()
  else if (what === 'garbage') direct.garbage(roomId)
  else if (what === 'accept') orders.accept(roomId, customerOf(roomId), vendorOf(roomId))
  else if (what === 'assign') orders.assign(roomId, random.pick(RIDERS))
  else if (what === 'end') orders.end(roomId, random.pick(['delivered', 'cancelled'] as const))
  else orders.poison(roomId)
}

/** Mostly between people of the room. */
function block(random: Random, direct: DirectSender, { roomId, create }: Conversation, people: readonly UserId[]): void {
  const among = random.chance(0.8) && 'participants' in create ? create.participants.map(({ userId }) => userId) : people
  direct.block(roomId, random.pick(among), random.pick(among))
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
function clean({ plan, servers, truth, users }: Town): void {
  const { kafka, postgres } = servers
  kafka.compact()
  for (let p = 0; p < plan.partitions; p++) {
    for (const { name, retentionMs } of [topics.orderEvents, topics.chatCommands]) kafka.expire(name, p, retentionMs, Math.min(truth.nextInput(p, name), checkpointOf(kafka, p)?.inputs.get(name) ?? 0))
    for (const { name, retentionMs } of [topics.inboxUpdates, topics.inboxCommands]) kafka.expire(name, p, retentionMs, Math.min(users.log.nextInput(p, name), feedCheckpointOf(kafka, p)?.inputs.get(name) ?? 0))
    const stands = (name: string) => postgres.tables.offsets.rows.get(`${name}/${p}`)?.nextOffset ?? 0
    const told = plan.counts.inboxes > 0 ? stands(FAN_OUT) : Number.POSITIVE_INFINITY
    kafka.expire(topics.roomEvents.name, p, topics.roomEvents.retentionMs, Math.min(stands(topics.roomEvents.name), told, checkpointOf(kafka, p)?.nextOffset ?? 0))
    kafka.expire(topics.userEvents.name, p, topics.userEvents.retentionMs, Math.min(stands(topics.userEvents.name), feedCheckpointOf(kafka, p)?.nextOffset ?? 0))
  }
}

/** What has not come to its end. */
function unsettled({ plan, servers, truth, users, wires, sdkUsers }: Town): string | undefined {
  const { kafka, postgres, sqs } = servers
  for (let p = 0; p < plan.partitions; p++) {
    for (const topic of inputTopics) {
      const { high } = kafka.log(topic, p)
      if (truth.nextInput(p, topic) < high) return `${topic}/${p} is applied up to ${truth.nextInput(p, topic)} of ${high}`
    }
    const stands = postgres.tables.offsets.rows.get(`${topics.roomEvents.name}/${p}`)?.nextOffset ?? 0
    const { high } = kafka.log(topics.roomEvents.name, p)
    if (stands < high) return `Postgres stands at ${stands} of ${high} in partition ${p}`
    if (plan.counts.inboxes === 0) continue
    const told = postgres.tables.offsets.rows.get(`${FAN_OUT}/${p}`)?.nextOffset ?? 0
    if (told < high) return `partition ${p} is fanned out up to ${told} of ${high}`
    const kept = postgres.tables.offsets.rows.get(`${topics.userEvents.name}/${p}`)?.nextOffset ?? 0
    if (kept < kafka.log(topics.userEvents.name, p).high) return `Postgres stands at ${kept} in partition ${p} of users`
    for (const topic of feedInputTopics) {
      const { high } = kafka.log(topic, p)
      if (users.log.nextInput(p, topic) < high) return `${topic}/${p} is applied up to ${users.log.nextInput(p, topic)} of ${high}`
    }
  }
  if (plan.counts.bridges > 0 && sqs.messages.size > 0) return `${sqs.messages.size} messages are in SQS`
  const behind = wires.inbox.unsettled()
  if (behind) return behind
  for (const user of sdkUsers) {
    const why = user.unsettled()
    if (why) return why
  }
  return undefined
}

