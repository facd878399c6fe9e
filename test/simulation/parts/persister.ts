import type { UserDecision } from '#libs/domain/inbox.ts'
import { retryDelayMs } from '#libs/runtime/retry.ts'
import { type Decision, decisionFromAvro } from '#libs/streams/avro-shapes.ts'
import { userDecisionFromAvro } from '#libs/streams/inbox-shapes.ts'
import { topics } from '#libs/streams/topics.ts'
import { PersisterTask, type PersisterTaskOptions } from '../../../services/message-persister/core/persister-task.ts'
import { type Rows, rowsOf } from '../../../services/message-persister/core/rows.ts'
import { type UserRows, userRowsOf } from '../../../services/message-persister/core/user-rows.ts'
import { createMessageStore } from '../../../services/message-persister/store.ts'
import { createUserStore } from '../../../services/message-persister/user-store.ts'
import type { Group } from '../world/group.ts'
import type { Process } from '../world/process.ts'
import type { Servers } from '../world/servers.ts'
import { followInGroup } from './follow.ts'

/** services/message-persister/service.ts in the simulated world; `withUsers`: there are lists to keep too. Returns its graceful end. */
export function startPersister(process: Process, servers: Servers, batchRecordsMax: number, withUsers: boolean): () => Promise<void> {
  const { postgres, registry, groups } = servers
  const roomEvents = topics.roomEvents.name
  const closeRooms = persist<Decision, Rows>(process, servers, groups.persister, roomEvents, {
    store: createMessageStore(postgres.pool(process), roomEvents),
    codec: registry.codec(process, topics.roomEvents, new Set()),
    decidedOf: decisionFromAvro,
    rowsOf,
    batchRecordsMax,
  })
  if (!withUsers) return closeRooms
  const userEvents = topics.userEvents.name
  const closeUsers = persist<UserDecision, UserRows>(process, servers, groups.userPersister, userEvents, {
    store: createUserStore(postgres.pool(process), userEvents),
    codec: registry.codec(process, topics.userEvents, new Set()),
    decidedOf: userDecisionFromAvro,
    rowsOf: userRowsOf,
    batchRecordsMax,
  })
  return async () => {
    await Promise.all([closeRooms(), closeUsers()])
  }
}

type Kind<Decided, Rows> = Pick<PersisterTaskOptions<Decided, Rows>, 'store' | 'codec' | 'decidedOf' | 'rowsOf' | 'batchRecordsMax'>

function persist<Decided, Rows>(process: Process, servers: Servers, group: Group, topic: string, kind: Kind<Decided, Rows>): () => Promise<void> {
  const { world } = servers
  const { clock } = process
  const { close } = followInGroup(process, servers, {
    group,
    topic,
    batchRecordsMax: kind.batchRecordsMax,
    create: (partition, log, onApplied) =>
      new PersisterTask<Decided, Rows>({
        ...kind,
        partition,
        log,
        nowMs: clock.nowMs,
        sleep: clock.sleep,
        retryDelayMs: (attempt) => retryDelayMs(attempt),
        observer: {
          applied: onApplied,
          behind: (err, delayMs) => world.note(`${process.name} cannot write ${topic}/${partition}: ${(err as Error).message}, again in ${Math.round(delayMs)} ms`),
          moved: () => world.note(`${process.name}: another persister has been at ${topic}/${partition}`),
        },
      }),
    positionOf: (task) => task.position?.nextOffset,
  })
  return close
}
