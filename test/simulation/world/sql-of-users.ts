import { assignments, type Meaning, reading, type Statement, type Values, writing } from './sql-parts.ts'
import type { Tables, UserChatRow } from './tables.ts'

/** The statements of services/message-persister/user-store.ts and services/edge/inbox-history.ts. */
export const meaningsOfUsers: readonly Meaning[] = [
  { text: /^INSERT INTO user_heads AS h .* ON CONFLICT \(user_id\) DO UPDATE SET (.*) WHERE h\.user_seq < excluded\.user_seq$/, of: (values, [, set]) => upsertHeads(values, set!) },
  { text: /^INSERT INTO user_chats .* FROM jsonb_to_recordset\(\$1::jsonb\) .* ON CONFLICT \(user_id, room_id\) DO UPDATE SET (.*)$/, of: ([json], [, set]) => upsertChats(JSON.parse(json), set!) },
  {
    text: /^DELETE FROM user_chats c USING unnest\(.*\) AS e\(user_id, user_seq, before_ms\) WHERE c\.user_id = e\.user_id AND c\.user_seq < e\.user_seq AND \(c\.closed OR c\.status = 'left'\) AND c\.last_activity_ms < e\.before_ms$/,
    of: (values) => deleteEnded(values),
  },
  { text: /^DELETE FROM user_chats c USING \(SELECT u\.user_id, u\.room_id, count\(\*\) OVER of_user AS total, .* WHERE c\.user_id = r\.user_id AND c\.room_id = r\.room_id AND r\.place <= r\.total - \$3::bigint$/, of: (values) => deleteSurplus(values) },
  { text: /^SELECT p\.next_offset::text, h\.user_seq, .* WHERE u\.user_id = \$3 AND u\.user_seq > \$4 ORDER BY u\.user_seq LIMIT \$5\) c ON true ORDER BY c\.user_seq$/, of: (values) => selectChanges(values) },
]

function upsertHeads([userIds, userSeqs, unread, mentions, chats]: Values, set: string): Statement {
  const given = assignments(set)
  return {
    name: 'upsert user heads',
    run: ({ userHeads }) => ({
      rowCount: userIds.filter((userId: string, i: number) => (userHeads.rows.get(userId)?.userSeq ?? -1) < userSeqs[i]).length,
      write: (tables) =>
        userIds.forEach((userId: string, i: number) => {
          const excluded = { user_seq: userSeqs[i], unread: unread[i], mentions: mentions[i], chats: chats[i] }
          const before = tables.userHeads.rows.get(userId)
          const { user_seq: userSeq, ...rest } = before ? assigned({ ...before, user_seq: before.userSeq }, excluded, given) : excluded
          tables.userHeads.rows.set(userId, { userSeq, unread: rest['unread'], mentions: rest['mentions'], chats: rest['chats'] })
        }),
    }),
  }
}

/** What the statement sets, as it says; the rest as it was. */
function assigned(before: UserChatRow, excluded: UserChatRow, given: ReadonlyMap<string, string>): Record<string, any> {
  const after = { ...before }
  for (const [column, value] of given) {
    if (value !== `excluded.${column}`) throw new Error(`the simulated Postgres does not know this assignment: ${column} = ${value}`)
    after[column] = excluded[column]
  }
  return after
}

function upsertChats(rows: readonly UserChatRow[], set: string): Statement {
  const given = assignments(set)
  return writing('upsert user chats', ({ userChats }) => {
    for (const row of rows) {
      const key = `${row['user_id']} ${row['room_id']}`
      const before = userChats.rows.get(key)
      userChats.rows.set(key, before ? assigned(before, row, given) : row)
    }
  })
}

const chatsOf = ({ userChats }: Tables, userId: string): UserChatRow[] => [...userChats.rows.values()].filter((row) => row['user_id'] === userId)
const hasEnded = (row: UserChatRow): boolean => row['closed'] || row['status'] === 'left'

function deleteEnded([userIds, userSeqs, beforeMs]: Values): Statement {
  return writing('delete ended chats', (tables) =>
    userIds.forEach((userId: string, i: number) => {
      for (const row of chatsOf(tables, userId)) if (row['user_seq'] < userSeqs[i] && hasEnded(row) && row['last_activity_ms'] < beforeMs[i]) tables.userChats.rows.delete(`${userId} ${row['room_id']}`)
    }),
  )
}

function deleteSurplus([userIds, userSeqs, max]: Values): Statement {
  return writing('delete surplus chats', (tables) =>
    userIds.forEach((userId: string, i: number) => {
      const key = (row: UserChatRow): [number, number, number, string] => [Number(row['user_seq'] > userSeqs[i]), Number(!hasEnded(row)), row['last_activity_ms'], row['room_id']]
      const rows = chatsOf(tables, userId).sort((a, b) => (compare(key(a), key(b))))
      for (const row of rows.slice(0, Math.max(0, rows.length - max))) tables.userChats.rows.delete(`${userId} ${row['room_id']}`)
    }),
  )
}

function compare(a: readonly (number | string)[], b: readonly (number | string)[]): number {
  const at = a.findIndex((value, i) => value !== b[i])
  return at < 0 ? 0 : a[at]! < b[at]! ? -1 : 1
}

function selectChanges([topic, partition, userId, after, limit]: Values): Statement {
  return reading(`select changes of ${userId} above ${after}`, (tables) => {
    const offsets = tables.offsets.rows.get(`${topic}/${partition}`)
    const head = tables.userHeads.rows.get(userId)
    const changed = chatsOf(tables, userId).filter((row) => row['user_seq'] > after)
    changed.sort((a, b) => a['user_seq'] - b['user_seq'])
    const one = { next_offset: offsets ? `${offsets.nextOffset}` : null, user_seq: head?.userSeq ?? null, unread: head?.unread, mentions: head?.mentions, chats: head?.chats }
    const chats = changed.slice(0, limit).map(chatJson)
    return chats.length === 0 ? [{ ...one, chat: null }] : chats.map((chat) => ({ ...one, chat }))
  })
}

/** As `jsonb_build_object` makes it. */
function chatJson(row: UserChatRow): object {
  const names = { user_seq: 'userSeq', room_id: 'roomId', room_seq: 'roomSeq', message_count: 'messageCount', last_activity_ms: 'lastActivityMs', last_message: 'last', muted_until_ms: 'mutedUntilMs' } as Record<string, string>
  return Object.fromEntries(Object.entries(row).filter(([column]) => column !== 'user_id').map(([column, value]) => [names[column] ?? column, value]))
}
