import type { Participant } from '#libs/domain/room.ts'
import type { OffsetsRow, RoomRow, Tables } from './tables.ts'

/** One statement, understood: what it reads now, and what it writes at the commit. */
export type Statement = {
  readonly name: string
  /** The row that it locks until its transaction ends. */
  readonly lock?: string
  readonly run: (tables: Tables) => { readonly rows?: readonly unknown[]; readonly rowCount?: number; readonly write?: (tables: Tables) => void }
}

type Values = readonly any[]
type Meaning = { readonly text: RegExp; readonly of: (values: Values, match: RegExpExecArray) => Statement }

/**
 * The statements of services/message-persister/store.ts and services/edge/history.ts, by their text. Conditions that
 * correctness hangs on are read from the text itself. A statement that is not known here stops the run: teach it.
 */
const meanings: readonly Meaning[] = [
  { text: /^INSERT INTO persisted_offsets .* ON CONFLICT DO NOTHING$/, of: ([topic, partition]) => insertOffsets(topic, partition) },
  { text: /^UPDATE persisted_offsets SET next_offset = \$3, owner_epoch = \$4, last_sources = \$5, .* WHERE (.*)$/, of: (values, [, where]) => moveOffsets(values, where!) },
  { text: /^SELECT next_offset::text, owner_epoch::text(, last_sources)? FROM persisted_offsets WHERE topic = \$1 AND partition = \$2$/, of: ([topic, partition]) => selectOffsets(topic, partition) },
  { text: /^SELECT partition, next_offset::text FROM persisted_offsets WHERE topic = \$1$/, of: ([topic]) => selectAllOffsets(topic) },
  { text: /^SELECT participants, is_readonly, head_seq, message_count FROM chat_rooms WHERE room_id = \$1$/, of: ([roomId]) => selectRoom(roomId) },
  {
    text: /^SELECT p\.next_offset::text, r\.participants, .* LEFT JOIN persisted_offsets p ON p\.topic = \$1 AND p\.partition = \$2 LEFT JOIN chat_rooms r ON r\.room_id = \$3$/,
    of: ([topic, partition, roomId]) => selectPositionAndRoom(topic, partition, roomId),
  },
  {
    text: /^SELECT e\.body, c\.content FROM room_events e LEFT JOIN message_contents c .* WHERE e\.room_id = \$1 AND e\.seq (>=?) \$2 AND e\.seq (<=?) \$3 ORDER BY e\.seq LIMIT \$4$/,
    of: ([roomId, after, upTo, limit], [, from, to]) => selectEvents(roomId, from === '>' ? after + 1 : after, to === '<=' ? upTo : upTo - 1, limit),
  },
  { text: /^INSERT INTO chat_rooms /, of: (values) => insertRooms(values) },
  { text: /^UPDATE chat_rooms c SET head_seq = /, of: (values) => updateHeads(values) },
  { text: /^DELETE FROM room_participants /, of: (values) => deleteMembers(values) },
  { text: /^INSERT INTO room_participants .* ON CONFLICT \(user_id, room_id\) DO UPDATE /, of: (values) => upsertMembers(values) },
  { text: /^UPDATE chat_rooms c SET participants = /, of: ([roomIds]) => updateParticipants(roomIds) },
  { text: /^INSERT INTO chat_messages /, of: (values) => insertMessages(values) },
  { text: /^INSERT INTO message_contents /, of: (values) => insertContents(values) },
  { text: /^INSERT INTO room_events /, of: (values) => insertEvents(values) },
]

export function statementOf(text: string, values: Values): Statement {
  const flat = text.replaceAll(/\s+/g, ' ').trim()
  for (const meaning of meanings) {
    const match = meaning.text.exec(flat)
    if (match) return meaning.of(values, match)
  }
  throw new Error(`the simulated Postgres does not know this statement: ${flat}`)
}

const writing = (name: string, write: (tables: Tables) => void): Statement => ({ name, run: () => ({ write }) })
const reading = (name: string, rows: (tables: Tables) => readonly unknown[]): Statement => ({ name, run: (tables) => ({ rows: rows(tables) }) })
const at = (topic: string, partition: number): string => `${topic}/${partition}`

function insertOffsets(topic: string, partition: number): Statement {
  return writing('insert offsets', ({ offsets }) => {
    if (!offsets.rows.has(at(topic, partition))) offsets.insert(at(topic, partition), { topic, partition, nextOffset: 0, ownerEpoch: -1, lastSources: '{}' })
  })
}

const columns: Readonly<Record<string, (row: OffsetsRow) => string>> = {
  topic: (row) => row.topic,
  partition: (row) => `${row.partition}`,
  next_offset: (row) => `${row.nextOffset}`,
  owner_epoch: (row) => `${row.ownerEpoch}`,
}

function moveOffsets(values: Values, where: string): Statement {
  const conditions = where.split(' AND ').map((condition) => {
    const [, column, parameter] = /^(\w+) = \$(\d+)$/.exec(condition.trim()) ?? []
    if (column === undefined || !(column in columns)) throw new Error(`the simulated Postgres does not know this condition: ${condition}`)
    return (row: OffsetsRow) => columns[column]!(row) === String(values[Number(parameter) - 1])
  })
  const key = at(values[0], values[1])
  return {
    name: 'move offsets',
    lock: key,
    run: ({ offsets }) => {
      const row = offsets.rows.get(key)
      if (!row || !conditions.every((holds) => holds(row))) return { rowCount: 0 }
      const moved: OffsetsRow = { ...row, nextOffset: Number(values[2]), ownerEpoch: Number(values[3]), lastSources: values[4] }
      return { rowCount: 1, write: (tables) => void tables.offsets.rows.set(key, moved) }
    },
  }
}

function selectOffsets(topic: string, partition: number): Statement {
  return reading('select offsets', ({ offsets }) => {
    const row = offsets.rows.get(at(topic, partition))
    return row ? [{ next_offset: `${row.nextOffset}`, owner_epoch: `${row.ownerEpoch}`, last_sources: JSON.parse(row.lastSources) }] : []
  })
}

function selectAllOffsets(topic: string): Statement {
  return reading('select all offsets', ({ offsets }) =>
    [...offsets.rows.values()].filter((row) => row.topic === topic).map((row) => ({ partition: row.partition, next_offset: `${row.nextOffset}` })),
  )
}

function selectRoom(roomId: string): Statement {
  return reading(`select room ${roomId}`, ({ rooms }) => {
    const row = rooms.rows.get(roomId)
    return row ? [{ participants: row.participants, is_readonly: row.isReadOnly, head_seq: row.headSeq, message_count: row.messageCount }] : []
  })
}

/** One row, whatever there is. */
function selectPositionAndRoom(topic: string, partition: number, roomId: string): Statement {
  return reading(`select position and room ${roomId}`, ({ offsets, rooms }) => {
    const room = rooms.rows.get(roomId)
    const position = offsets.rows.get(at(topic, partition))
    return [
      {
        next_offset: position ? `${position.nextOffset}` : null,
        participants: room?.participants ?? null,
        is_readonly: room?.isReadOnly ?? null,
        head_seq: room?.headSeq ?? null,
        message_count: room?.messageCount ?? null,
      },
    ]
  })
}

function selectEvents(roomId: string, from: number, to: number, limit: number): Statement {
  return reading(`select events of ${roomId} ${from} … ${to}`, ({ events, contents }) => {
    const rows: unknown[] = []
    for (let seq = from; seq <= Math.min(to, events.rows.size) && rows.length < limit; seq++) {
      const row = events.rows.get(`${roomId} ${seq}`)
      if (row) rows.push({ body: JSON.parse(row.body), content: contents.rows.get(`${roomId} ${seq}`)?.content ?? null })
    }
    return rows
  })
}

function insertRooms([ids, participants, openedMs]: Values): Statement {
  return writing('insert rooms', ({ rooms }) =>
    ids.forEach((roomId: string, i: number) =>
      rooms.insert(roomId, { roomId, participants: JSON.parse(participants[i]), isReadOnly: false, headSeq: 0, messageCount: 0, openedMs: openedMs[i], lastEventMs: openedMs[i], closedReason: null, closedMs: null }),
    ),
  )
}

function updateHeads([ids, heads, counts, lastMs, reasons, closedMs]: Values): Statement {
  return writing('update heads', ({ rooms }) =>
    ids.forEach((roomId: string, i: number) => {
      const row = rooms.rows.get(roomId)
      if (!row) return
      const closed: Partial<RoomRow> = reasons[i] === null ? {} : { isReadOnly: true, closedReason: reasons[i], closedMs: closedMs[i] }
      rooms.rows.set(roomId, { ...row, ...closed, headSeq: heads[i], messageCount: counts[i] ?? row.messageCount, lastEventMs: lastMs[i] })
    }),
  )
}

function deleteMembers([roomIds, userIds]: Values): Statement {
  return writing('delete members', ({ members }) => roomIds.forEach((roomId: string, i: number) => members.rows.delete(`${userIds[i]} ${roomId}`)))
}

function upsertMembers([roomIds, userIds, roles, sinceSeqs]: Values): Statement {
  return writing('upsert members', ({ members }) =>
    roomIds.forEach((roomId: string, i: number) => members.rows.set(`${userIds[i]} ${roomId}`, { roomId, userId: userIds[i], role: roles[i], sinceSeq: sinceSeqs[i] })),
  )
}

/** Ordered by since_seq, role, user_id, as the statement says. */
function updateParticipants(roomIds: readonly string[]): Statement {
  return writing('update participants', ({ rooms, members }) => {
    for (const roomId of roomIds) {
      const row = rooms.rows.get(roomId)
      const present = [...members.rows.values()].filter((member) => member.roomId === roomId)
      present.sort((a, b) => a.sinceSeq - b.sinceSeq || (a.role < b.role ? -1 : a.role > b.role ? 1 : a.userId < b.userId ? -1 : 1))
      if (row) rooms.rows.set(roomId, { ...row, participants: present.map(({ userId, role }) => ({ userId, role }) as Participant) })
    }
  })
}

function insertMessages([ids, seqs, messageIds, clientIds, senders, indexes, sentMs]: Values): Statement {
  return writing('insert messages', ({ messages, messageIds: unique }) =>
    ids.forEach((roomId: string, i: number) => {
      messages.insert(`${roomId} ${seqs[i]}`, { roomId, seq: seqs[i], messageId: messageIds[i], clientMessageId: clientIds[i], senderId: senders[i], messageIndex: indexes[i], sentMs: sentMs[i] })
      unique.insert(`${roomId} ${messageIds[i]}`, true)
    }),
  )
}

function insertContents([ids, seqs, contents, salts]: Values): Statement {
  return writing('insert contents', (tables) => ids.forEach((roomId: string, i: number) => tables.contents.insert(`${roomId} ${seqs[i]}`, { content: contents[i], salt: salts[i] })))
}

function insertEvents([ids, seqs, types, atMs, bodies, partition, offsets]: Values): Statement {
  return writing('insert events', ({ events }) =>
    ids.forEach((roomId: string, i: number) => {
      events.insert(`${roomId} ${seqs[i]}`, { roomId, seq: seqs[i], type: types[i], atMs: atMs[i], body: bodies[i], partition, offset: Number(offsets[i]) })
    }),
  )
}
