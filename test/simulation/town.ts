import type { IdentityRole } from '#libs/auth/verifier.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import { orderEventToAvro } from '#libs/streams/avro-shapes.ts'
import { topics } from '#libs/streams/topics.ts'
import { parseOrderMessage } from '../../services/sqs-bridge/core/parse-order-message.ts'
import { Truth } from './checks/truth.ts'
import { Users } from './checks/users.ts'
import { WireChecks } from './checks/wires.ts'
import { startBridge } from './parts/bridge.ts'
import { startEdge } from './parts/edge.ts'
import { startInbox } from './parts/inbox.ts'
import { startPersister } from './parts/persister.ts'
import { startRoomState } from './parts/room-state.ts'
import { Slot } from './parts/slot.ts'
import type { Plan } from './plan.ts'
import { type Conversation, conversationsOf } from './users/commands.ts'
import { DirectSender } from './users/direct-sender.ts'
import { type OrderMessage, OrderService } from './users/orders.ts'
import { RawUser } from './users/raw-user.ts'
import { SdkInbox } from './users/sdk-inbox.ts'
import { SdkUser } from './users/sdk-user.ts'
import { Group } from './world/group.ts'
import { Kafka } from './world/kafka.ts'
import { Network } from './world/network.ts'
import { Postgres } from './world/postgres.ts'
import { SimProducer } from './world/producer.ts'
import { Redis } from './world/redis.ts'
import { Registry } from './world/registry.ts'
import type { Servers } from './world/servers.ts'
import { SqsQueueServer } from './world/sqs.ts'
import type { World } from './world/world.ts'

/** All that a run has: servers, parts, people, and who looks at it. */
export type Town = {
  readonly world: World
  readonly plan: Plan
  readonly servers: Servers
  readonly truth: Truth
  readonly users: Users
  readonly wires: WireChecks
  readonly slots: Readonly<Record<'roomState' | 'persister' | 'edge' | 'bridge' | 'inbox', readonly Slot[]>>
  /** Of orders. */
  readonly rooms: readonly RoomId[]
  /** Of what else people talk about: none, or one of each kind. */
  readonly conversations: readonly Conversation[]
  readonly people: readonly UserId[]
  readonly orders: OrderService
  readonly sdkUsers: readonly SdkUser[]
  readonly rawUsers: readonly RawUser[]
  readonly direct: DirectSender
}

export const customerOf = (roomId: RoomId) => `customer-${roomId}` as UserId
export const vendorOf = (roomId: RoomId) => `vendor-${roomId}` as UserId
export const RIDERS = ['rider-1', 'rider-2'] as readonly string[] as readonly UserId[]

/** A join may share a read that began before it; on an edge that was paused meanwhile, long before. */
const SHARED_READ_MS = 20_000

export function build(world: World, plan: Plan): Town {
  const kafka = new Kafka(world, plan.partitions, plan.kafka)
  const group = (name: string) => new Group(world, name, plan.partitions)
  const servers: Servers = {
    world,
    kafka,
    groups: { roomState: group('room-state'), persister: group('message-persister'), userPersister: group('message-persister-user-events'), fanOut: group('inbox-fan-out'), feed: group('inbox-feed') },
    postgres: new Postgres(world, { commitFails: plan.postgresCommitFails }),
    redis: new Redis(world),
    registry: new Registry(world),
    sqs: new SqsQueueServer(world),
    network: new Network(world),
    probes: { onTakenOver: () => {}, onFeedTakenOver: () => {} },
  }
  const truth = new Truth(world, kafka, plan.room.content)
  const users = new Users(world, kafka, truth)
  const wires = new WireChecks(world, truth, users, (sinceMs) => plan.roomsLimits.buffer.recordsMax < 1_000 || servers.postgres.lastRefusedMs >= sinceMs - SHARED_READ_MS)
  servers.network.tap = wires
  const { counts } = plan
  const slots = (count: number, name: string, start: (slot: string) => ConstructorParameters<typeof Slot>[2]) => Array.from({ length: count }, (_, i) => new Slot(world, `${name}-${i + 1}`, start(`${name}-${i + 1}`)))
  const rooms = Array.from({ length: plan.rooms }, (_, i) => `order-${i + 1}` as RoomId)
  const trio = [customerOf(rooms[0]!), vendorOf(rooms[0]!), RIDERS[0]!] as const
  const conversations = plan.conversations ? conversationsOf(rooms[0]!, trio, world.random.pick(['all', 'fromJoin', 'fromJoin'] as const)) : []
  const everybody = [...rooms.flatMap((roomId) => [customerOf(roomId), vendorOf(roomId)]), ...RIDERS]
  return {
    world,
    plan,
    servers,
    truth,
    users,
    wires,
    rooms,
    conversations,
    people: everybody,
    slots: {
      roomState: slots(counts.roomStates, 'room-state', () => (process) => startRoomState(process, servers, plan.task, plan.room)),
      persister: slots(counts.persisters, 'persister', () => (process) => startPersister(process, servers, plan.batchRecordsMax, counts.inboxes > 0)),
      edge: slots(counts.edges, 'edge', (name) => (process) => startEdge(process, servers, name, plan)),
      inbox: slots(counts.inboxes, 'inbox', () => (process) => startInbox(process, servers, plan.inbox)),
      bridge: slots(counts.bridges, 'bridge', () => (process) => startBridge(process, servers)),
    },
    orders: new OrderService(world, counts.bridges > 0 ? (message) => servers.sqs.send(message.body) : directly(servers)),
    ...people({ world, plan, servers, truth, users, rooms, conversations, people: everybody }),
  }
}

function people({ world, plan, servers, truth, users, rooms, conversations, people: everybody }: Pick<Town, 'world' | 'plan' | 'servers' | 'truth' | 'users' | 'rooms' | 'conversations' | 'people'>) {
  const { network, kafka, registry } = servers
  const { random } = world
  const sdkUsers: SdkUser[] = []
  const rawUsers: RawUser[] = []
  const others = conversations.map(({ roomId }) => roomId)
  // What an app keeps begins at seq 1.
  const kept = conversations.filter(({ kind, create }) => kind !== 'dispute' && create.history !== 'fromJoin').map(({ roomId }) => roomId)
  const raw = (userId: UserId, their: readonly RoomId[], role: IdentityRole) => rawUsers.push(new RawUser(world, network, { userId, rooms: [...their, ...others], role, people: everybody, conversations, withInbox: plan.counts.inboxes > 0 }))
  const add = (userId: UserId, their: readonly RoomId[]) => {
    if (plan.sdkUsers && random.chance(plan.rawUsers ? 0.6 : 0.9)) sdkUsers.push(new SdkUser(world, network, truth, { userId, rooms: [...their, ...(random.chance(0.5) ? kept : [])], oneRoom: random.chance(0.3), inbox: plan.counts.inboxes > 0 && random.chance(0.8) ? new SdkInbox(world, users, userId) : undefined }))
    else if (plan.rawUsers) raw(userId, their, 'user')
  }
  for (const roomId of rooms) {
    add(customerOf(roomId), [roomId])
    if (random.chance(0.5)) add(vendorOf(roomId), [roomId])
  }
  for (const riderId of RIDERS) if (random.chance(0.7)) add(riderId, rooms)
  if (plan.rawUsers && random.chance(0.4)) raw('outsider' as UserId, rooms, 'user')
  if (plan.rawUsers && random.chance(0.4)) raw('admin' as UserId, rooms, random.pick(['admin', 'moderator'] as const))
  const direct = new DirectSender(world.process('direct'), kafka, registry)
  return { sdkUsers, rawUsers, direct }
}

/** Where there is no bridge: its core alone, and a producer that tries until it is told that the event is there. */
function directly({ world, kafka, registry }: Servers): (message: OrderMessage) => void {
  const process = world.process('order-producer')
  const producer = new SimProducer(process, kafka)
  const codec = registry.codec(process, topics.orderEvents, new Set())
  return ({ body, eventId }) => {
    const parsed = parseOrderMessage({ messageId: eventId, body, sentTimestampMs: world.nowMs, attributes: {} }, world.nowMs)
    if (parsed.kind !== 'event') return
    const { event } = parsed
    const record = { key: event.orderId, value: codec.encode(orderEventToAvro(event)), headers: {} }
    const attempt = async (): Promise<void> => {
      await producer.send(topics.orderEvents.name, record).catch(() => process.clock.sleep(200).then(attempt))
    }
    void attempt()
  }
}

export const partitionOfRoom = (plan: Plan, roomId: RoomId): number => partitionOf(roomId, plan.partitions)
