import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { UserState } from '#libs/domain/inbox.ts'
import type { RoomState } from '#libs/domain/room.ts'
import type { Group } from './group.ts'
import type { Kafka } from './kafka.ts'
import type { Network } from './network.ts'
import type { Postgres } from './postgres.ts'
import type { Redis } from './redis.ts'
import type { Registry } from './registry.ts'
import type { SqsQueueServer } from './sqs.ts'
import type { World } from './world.ts'

/** What the parts tell the checkers by themselves. */
export type Probes = {
  onTakenOver(partition: number, epoch: bigint, rooms: ReadonlyMap<RoomId, RoomState>): void
  onFeedTakenOver(partition: number, epoch: bigint, users: ReadonlyMap<UserId, UserState>): void
}

/** Everything outside the processes. */
export type Servers = {
  readonly world: World
  readonly kafka: Kafka
  readonly groups: Readonly<Record<'roomState' | 'persister' | 'userPersister' | 'fanOut' | 'feed', Group>>
  readonly postgres: Postgres
  readonly redis: Redis
  readonly registry: Registry
  readonly sqs: SqsQueueServer
  readonly network: Network
  readonly probes: Probes
}
