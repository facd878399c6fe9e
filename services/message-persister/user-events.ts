import { userDecisionFromAvro } from '#libs/streams/inbox-shapes.ts'
import { topics } from '#libs/streams/topics.ts'
import { type AppliedUserRecord, type UserRows, userRowsOf } from './core/user-rows.ts'
import { type FollowLogOptions, followLog } from './follow-log.ts'
import { createUserStore } from './user-store.ts'
import type { Pool } from '#libs/postgres/pool.ts'
import type { UserDecision } from '#libs/domain/inbox.ts'
import { headerText } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { headerNames } from '#libs/streams/topics.ts'

const topic = topics.userEvents.name

type Parts = Pick<FollowLogOptions<UserDecision, UserRows>, 'config' | 'kafka' | 'offsets' | 'codec' | 'metrics' | 'logger' | 'onAssigned' | 'onFailed'> & { readonly pool: Pool }

/** What was ignored, refused or unchanged has no row. */
export const concernsTables = ({ headers }: InRecord): boolean => headerText(headers, headerNames.eventType)?.includes('chatChanged') ?? true

/** Edges have what is newer: the longer it waits, the more changes of a chat become one row. */
const FETCH_WAIT_MS = 500

/** Keeps each user's list of chats as the log `user-events` has it, beside the rooms and in a consumer group of its own. */
export function startUserEvents({ pool, ...parts }: Parts): Promise<{ close(): Promise<void> }> {
  return followLog<UserDecision, UserRows>({
    ...parts,
    fetchWaitMs: Math.max(parts.config.fetchWaitMs, FETCH_WAIT_MS),
    topic,
    groupId: 'message-persister-user-events',
    store: createUserStore(pool, topic),
    decidedOf: userDecisionFromAvro,
    concerns: concernsTables,
    rowsOf: (applied: readonly AppliedUserRecord[]) => userRowsOf(applied),
    eventsOf: ({ events }) => events,
  })
}
