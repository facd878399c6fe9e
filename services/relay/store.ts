import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { Pool } from '#libs/postgres/pool.ts'
import type { Word } from './core/facts.ts'
import type { RelayStore } from './core/relay.ts'

type WordRow = { blocker_id: UserId; blocked_id: UserId; is_on: boolean; occurred_at_ms: number }

const wordOf = (row: WordRow): Word => ({ blockerId: row.blocker_id, blockedId: row.blocked_id, on: row.is_on, occurredAtMs: row.occurred_at_ms })

/** On the primary: a replica may be behind what it is asked to hold. */
export function createRelayStore(pool: Pool, logTopic: string): RelayStore {
  return {
    async remember(words) {
      await pool.query(
        `INSERT INTO relay_blocks AS b (blocker_id, blocked_id, is_on, occurred_at_ms)
         SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[], $4::bigint[])
         ON CONFLICT (blocker_id, blocked_id) DO UPDATE SET is_on = excluded.is_on, occurred_at_ms = excluded.occurred_at_ms
          WHERE (b.occurred_at_ms, b.is_on) < (excluded.occurred_at_ms, excluded.is_on)`,
        [words.map((w) => w.blockerId), words.map((w) => w.blockedId), words.map((w) => w.on), words.map((w) => w.occurredAtMs)],
      )
    },
    async wordsAmong(userIds) {
      const { rows } = await pool.query<WordRow>(
        'SELECT blocker_id, blocked_id, is_on, occurred_at_ms FROM relay_blocks WHERE blocker_id = ANY($1::text[]) AND blocked_id = ANY($1::text[])',
        [userIds],
      )
      return rows.map(wordOf)
    },
    async concerned(userIds) {
      const { rows } = await pool.query<{ user_id: UserId }>(
        `SELECT u AS user_id FROM unnest($1::text[]) AS u
          WHERE EXISTS (SELECT 1 FROM relay_blocks WHERE blocker_id = u) OR EXISTS (SELECT 1 FROM relay_blocks WHERE blocked_id = u)`,
        [userIds],
      )
      return new Set(rows.map((row) => row.user_id))
    },
    async commonRooms(words) {
      const { rows } = await pool.query<{ nr: number; room_id: RoomId }>(
        `SELECT w.nr::int AS nr, p.room_id
           FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w(blocker_id, blocked_id, nr)
           JOIN room_participants p ON p.user_id = w.blocker_id
           JOIN room_participants q ON q.user_id = w.blocked_id AND q.room_id = p.room_id
           JOIN chat_rooms c ON c.room_id = p.room_id
          WHERE NOT c.is_readonly AND c.kind <> 'direct'`,
        [words.map((w) => w.blockerId), words.map((w) => w.blockedId)],
      )
      return rows.map(({ nr, room_id: roomId }) => ({ word: words[nr - 1]!, roomId }))
    },
    async people(roomIds) {
      const { rows } = await pool.query<{ room_id: RoomId; user_id: UserId }>('SELECT room_id, user_id FROM room_participants WHERE room_id = ANY($1::text[])', [roomIds])
      const people = new Map(roomIds.map((roomId) => [roomId, new Set<UserId>()]))
      for (const row of rows) people.get(row.room_id)!.add(row.user_id)
      return people
    },
    async persisted() {
      const { rows } = await pool.query<{ partition: number; next_offset: string }>('SELECT partition, next_offset::text FROM persisted_offsets WHERE topic = $1', [logTopic])
      return new Map(rows.map((row) => [row.partition, BigInt(row.next_offset)]))
    },
  }
}
