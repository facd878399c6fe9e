import { ChatError } from '#libs/domain/errors.ts'
import type { Pool, Queryable } from '#libs/postgres/pool.ts'
import { withTransaction } from '#libs/postgres/transaction.ts'
import type { ReadPosition } from '#libs/streams/read-by-rule.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { tasks } from './core/delivery.ts'
import type { Changes, NotificationStore } from './core/follower.ts'

/** Where the positions are kept, beside those of message-persister. */
const POSITIONS = 'notifier:user-events'

/** Which ways out are configured: jobs are made for these alone. */
export type Channels = { readonly sqs: boolean; readonly webhook: boolean; readonly webPush: boolean }

type Key = { readonly user_id: UserId; readonly room_id: RoomId }

export type ClosedStore = {
  /** Adds the jobs that tell of a notification that was closed by hand. */
  tellClosed(userId: UserId, roomId: RoomId): Promise<void>
}

/** @param lowOf the first offset that a partition still holds: where who has never been here begins */
export function createNotificationStore(pool: Pool, channels: Channels, lowOf: (partition: number) => Promise<bigint>): NotificationStore & ClosedStore {
  return {
    async tellClosed(userId, roomId) {
      await addJobs(pool, channels, [{ user_id: userId, room_id: roomId }])
    },
    async readPosition(partition) {
      const known = await selectPosition(pool, partition)
      if (known) return known
      const low = await lowOf(partition)
      await pool.query('INSERT INTO persisted_offsets (topic, partition, next_offset, owner_epoch) VALUES ($1, $2, $3, -1) ON CONFLICT DO NOTHING', [POSITIONS, partition, low.toString()])
      return (await selectPosition(pool, partition))!
    },
    apply: (partition, before, after, changes) =>
      withTransaction(pool, 'read committed', async (tx) => {
        if (!(await movePosition(tx, partition, before, after))) return undefined
        const closed = await settle(tx, changes)
        const told = await tell(tx, changes)
        const jobs = await addJobs(tx, channels, [...closed, ...told])
        return { told: told.length, closed: closed.length, jobs }
      }),
  }
}

async function selectPosition(db: Queryable, partition: number): Promise<ReadPosition | undefined> {
  const { rows } = await db.query<{ next_offset: string; owner_epoch: string; last_sources: Record<string, string> }>(
    'SELECT next_offset::text, owner_epoch::text, last_sources FROM persisted_offsets WHERE topic = $1 AND partition = $2',
    [POSITIONS, partition],
  )
  const row = rows[0]
  return row && { nextOffset: BigInt(row.next_offset), ownerEpoch: BigInt(row.owner_epoch), lastSources: new Map(Object.entries(row.last_sources).map(([topic, offset]) => [topic, BigInt(offset)])) }
}

async function movePosition(tx: Queryable, partition: number, before: ReadPosition, after: ReadPosition): Promise<boolean> {
  const { rowCount } = await tx.query(
    `UPDATE persisted_offsets SET next_offset = $3, owner_epoch = $4, last_sources = $5, updated_at = now()
      WHERE topic = $1 AND partition = $2 AND next_offset = $6 AND owner_epoch = $7`,
    [
      POSITIONS,
      partition,
      after.nextOffset.toString(),
      after.ownerEpoch.toString(),
      JSON.stringify(Object.fromEntries([...after.lastSources].map(([topic, offset]) => [topic, offset.toString()]))),
      before.nextOffset.toString(),
      before.ownerEpoch.toString(),
    ],
  )
  return rowCount === 1
}

/**
 * Closes what was read or is of no more use. What was read in part keeps its place, with the count that is left. What its user
 * closes by hand at the same moment stays closed: the last condition is judged by the row as it is once he is done.
 */
async function settle(tx: Queryable, { settlements }: Changes): Promise<readonly Key[]> {
  if (settlements.length === 0) return []
  const { rows } = await tx.query<Key & { closed: boolean }>(
    `UPDATE notifications n
        SET count = s.count, badge = s.badge, user_seq = greatest(n.user_seq, s.user_seq), updated_at = now(),
            read_at = CASE WHEN s.closed_by IS NOT NULL THEN now() END, closed_by = s.closed_by,
            version = CASE WHEN s.closed_by IS NOT NULL THEN nextval('notification_versions') ELSE n.version END
       FROM (SELECT o.notification_id, s.count, s.badge, s.user_seq,
                    coalesce(s.closes, CASE WHEN o.kind = 'invitation' THEN CASE WHEN s.closes_invitation THEN 'answered' END
                                            WHEN o.last_index <= s.seen THEN 'read' END) AS closed_by
               FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::boolean[])
                    AS s(user_id, room_id, user_seq, seen, count, badge, closes, closes_invitation)
               JOIN notifications o ON o.user_id = s.user_id AND o.room_id = s.room_id AND o.read_at IS NULL) AS s
      WHERE n.notification_id = s.notification_id AND n.read_at IS NULL
      RETURNING n.user_id, n.room_id, n.read_at IS NOT NULL AS closed`,
    [
      settlements.map((s) => s.userId),
      settlements.map((s) => s.roomId),
      settlements.map((s) => s.userSeq),
      settlements.map((s) => s.seen),
      settlements.map((s) => s.count),
      settlements.map((s) => s.badge),
      settlements.map((s) => s.closes ?? null),
      settlements.map((s) => s.closesInvitation),
    ],
  )
  return rows.filter(({ closed }) => closed)
}

/**
 * Opens a notification, or raises the one that is open. One that was opened before and closed stays closed, and one that tells
 * as much already is left alone; closed, too: it told what was known when it was opened, of which some comes due only now.
 */
async function tell(tx: Queryable, { notices }: Changes): Promise<readonly Key[]> {
  if (notices.length === 0) return []
  const { rows } = await tx.query<Key>(
    `INSERT INTO notifications AS n (notification_id, user_id, room_id, kind, first_index, last_index, last_seq, count, sender_id, room_kind, room_name, badge, user_seq,
                                     version, created_at, updated_at)
     SELECT t.*, nextval('notification_versions'), now(), now()
       FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[])
            AS t(notification_id, user_id, room_id, kind, first_index, last_index, last_seq, count, sender_id, room_kind, room_name, badge, user_seq)
      WHERE NOT EXISTS (SELECT 1 FROM notifications o WHERE o.notification_id = t.notification_id AND o.read_at IS NOT NULL)
        AND NOT coalesce((SELECT o.read_at IS NOT NULL AND o.last_seq >= t.last_seq FROM notifications o
                           WHERE o.user_id = t.user_id AND o.room_id = t.room_id ORDER BY o.version DESC LIMIT 1), false)
     ON CONFLICT (user_id, room_id) WHERE read_at IS NULL DO UPDATE
        SET kind = excluded.kind, first_index = CASE WHEN excluded.kind <> 'invitation' THEN coalesce(n.first_index, excluded.first_index) END, last_index = excluded.last_index, last_seq = excluded.last_seq,
            count = excluded.count, sender_id = excluded.sender_id, room_kind = excluded.room_kind, room_name = excluded.room_name, badge = excluded.badge,
            user_seq = greatest(n.user_seq, excluded.user_seq), version = excluded.version, updated_at = excluded.updated_at
      WHERE excluded.last_seq > n.last_seq
     RETURNING user_id, room_id`,
    [
      notices.map((n) => n.notificationId),
      notices.map((n) => n.userId),
      notices.map((n) => n.roomId),
      notices.map((n) => n.kind),
      notices.map((n) => n.firstIndex ?? null),
      notices.map((n) => n.lastIndex ?? null),
      notices.map((n) => n.lastSeq),
      notices.map((n) => n.count),
      notices.map((n) => n.senderId ?? null),
      notices.map((n) => n.roomKind),
      notices.map((n) => n.roomName ?? null),
      notices.map((n) => n.badge),
      notices.map((n) => n.userSeq),
    ],
  )
  return rows
}

type JobRow = { readonly task: string; readonly key: string; readonly user_id: UserId; readonly room_id: RoomId; readonly subscription_id: string | null }

/** A job says for whom and about which room; what there is to say is read when it is sent. */
async function addJobs(tx: Queryable, { sqs, webhook, webPush }: Channels, keys: readonly Key[]): Promise<number> {
  const single = [...(sqs ? [tasks.sqs] : []), ...(webhook ? [tasks.webhook] : [])]
  if (keys.length === 0 || (single.length === 0 && !webPush)) return 0
  // Of what is closed and opened anew in the same transaction one job tells.
  const unique = [...new Map(keys.map((key) => [`${key.user_id} ${key.room_id}`, key])).values()]
  const { rows: wanted } = await tx.query<JobRow>(
    `SELECT w.*, w.target || ' ' || w.user_id || ' ' || w.room_id AS key
       FROM (SELECT k.user_id, k.room_id, c.task, c.task AS target, NULL::uuid AS subscription_id
               FROM unnest($1::text[], $2::text[]) AS k(user_id, room_id) CROSS JOIN unnest($3::text[]) AS c(task)
              UNION ALL
             SELECT k.user_id, k.room_id, $4, $4 || ':' || p.subscription_id, p.subscription_id
               FROM unnest($1::text[], $2::text[]) AS k(user_id, room_id) JOIN push_subscriptions p USING (user_id) WHERE $5::boolean) AS w`,
    [unique.map((k) => k.user_id), unique.map((k) => k.room_id), single, tasks.webPush, webPush],
  )
  let missing: readonly JobRow[] = wanted
  // Where a worker takes the job of a key in the same moment, nothing is added; the next time it is known that he has it.
  for (let attempt = 0; missing.length > 0; attempt++) {
    if (attempt >= ADD_ATTEMPTS_MAX) throw new ChatError('unavailable', `${missing.length} jobs could not be added`)
    const added = await addOnce(tx, missing)
    missing = missing.filter(({ key }) => !added.has(key))
  }
  return wanted.length
}

/** The keys of those that were added. */
async function addOnce(tx: Queryable, jobs: readonly JobRow[]): Promise<ReadonlySet<string>> {
  const { rows } = await tx.query<{ key: string }>(
    `SELECT added.key
       FROM (SELECT array_agg((task, json_build_object('userId', user_id, 'roomId', room_id, 'subscriptionId', subscription_id), NULL, NULL, $6::smallint, key, NULL, NULL)::graphile_worker.job_spec) AS list
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::uuid[]) AS j(task, key, user_id, room_id, subscription_id)) AS specs,
            LATERAL graphile_worker.add_jobs(specs.list) AS added`,
    [jobs.map((j) => j.task), jobs.map((j) => j.key), jobs.map((j) => j.user_id), jobs.map((j) => j.room_id), jobs.map((j) => j.subscription_id), JOB_ATTEMPTS_MAX],
  )
  return new Set(rows.map(({ key }) => key))
}

/** Of adding the same jobs: each but the first means that a worker took one just then. */
const ADD_ATTEMPTS_MAX = 5

/** Beyond what delivery.ts allows itself, so that a job that ends its last attempt by a crash is still dead-lettered. */
const JOB_ATTEMPTS_MAX = 100
