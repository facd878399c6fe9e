import { meaningsOfUsers } from './sql-of-users.ts'
import { assignments, type Meaning, reading, type Statement, type Values, writing } from './sql-parts.ts'
import type { ChangeRow, OffsetsRow, RoomRow, Table, Tables } from './tables.ts'

/**
 * The statements of services/message-persister/store.ts and services/edge/history.ts, by their text. Conditions that
 * correctness hangs on are read from the text itself. A statement that is not known here stops the run: teach it.
 */
const meanings: readonly Meaning[] = [
  { text: /^INSERT INTO persisted_offsets .* ON CONFLICT DO NOTHING$/, of: ([topic, partition]) => insertOffsets(topic, partition) },
  {
    text: /^INSERT INTO persisted_offsets AS o .* unnest\(.*\) ON CONFLICT \(topic, partition\) DO UPDATE SET next_offset = excluded\.next_offset, owner_epoch = excluded\.owner_epoch, .*?( WHERE o\.next_offset < excluded\.next_offset)?$/,
    of: (values, [, where]) => savePositions(values, where !== undefined),
  },
  { text: /^UPDATE persisted_offsets SET next_offset = \$3, owner_epoch = \$4, last_sources = \$5, .* WHERE (.*)$/, of: (values, [, where]) => moveOffsets(values, where!) },
  { text: /^SELECT next_offset::text, owner_epoch::text(, last_sources)? FROM persisted_offsets WHERE topic = \$1 AND partition = \$2$/, of: ([topic, partition]) => selectOffsets(topic, partition) },
  { text: /^SELECT partition, next_offset::text FROM persisted_offsets WHERE topic = \$1$/, of: ([topic]) => selectAllOffsets(topic) },
  {
    text: /^SELECT p\.next_offset::text, r\.participants, .* LEFT JOIN persisted_offsets p ON p\.topic = \$1 AND p\.partition = \$2 LEFT JOIN chat_rooms r ON r\.room_id = \$3$/,
    of: ([topic, partition, roomId]) => selectPositionAndRoom(topic, partition, roomId),
  },
  {
    text: /^SELECT e\.body, ch\.revision, ch\.content_seq, ch\.deleted_seq IS NOT NULL AS deleted, ch\.redacted_reason AS redacted, CASE .* WHERE e\.room_id = \$1 AND e\.seq (>=?) \$2 AND e\.seq (<=?) \$3 ORDER BY e\.seq LIMIT \$4$/,
    of: ([roomId, after, upTo, limit], [, from, to]) => selectEvents(roomId, from === '>' ? after + 1 : after, to === '<=' ? upTo : upTo - 1, limit),
  },
  { text: /^SELECT seq FROM chat_messages WHERE room_id = \$1 AND message_id = \$2$/, of: ([roomId, messageId]) => selectMessageSeq(roomId, messageId) },
  { text: /^SELECT hide_receipts, hide_last_seen FROM user_settings WHERE user_id = \$1$/, of: ([userId]) => selectSettings(userId) },
  { text: /^SELECT NOT EXISTS \(SELECT FROM chat_rooms WHERE room_id = \$2\) AND .* AS "isFull"$/, of: () => reading('has conversations max', () => [{ isFull: false }]) },
  { text: /^INSERT INTO chat_rooms /, of: (values) => insertRooms(values) },
  { text: /^UPDATE chat_rooms c SET head_seq = /, of: (values) => updateHeads(values) },
  { text: /^UPDATE chat_rooms c SET name = /, of: (values) => updateDetails(values) },
  { text: /^DELETE FROM room_participants /, of: (values) => deleteMembers(values) },
  { text: /^INSERT INTO room_participants .* ON CONFLICT \(user_id, room_id\) DO UPDATE SET (.*)$/, of: (values, [, set]) => upsertMembers(values, set!) },
  { text: /^UPDATE chat_rooms c SET participants = /, of: ([roomIds]) => updateParticipants(roomIds) },
  { text: /^INSERT INTO chat_messages /, of: (values) => insertMessages(values) },
  { text: /^INSERT INTO message_contents /, of: (values) => insertContents(values) },
  { text: /^INSERT INTO message_changes AS c .* ON CONFLICT \(room_id, message_seq\) DO UPDATE SET (.*)$/, of: (values, [, set]) => upsertChanges(values, set!) },
  {
    text: /^INSERT INTO room_receipts AS c .* coalesce\(r\.hidden, b\.hidden, true\) .* ON CONFLICT \(room_id, user_id\) DO UPDATE SET delivered = (.*), seen = (.*), hidden = excluded\.hidden$/,
    of: (values, [, delivered, seen]) => upsertReceipts(values, [delivered!, seen!]),
  },
  { text: /^DELETE FROM message_reactions /, of: (values) => deleteRows('reactions', values) },
  { text: /^INSERT INTO message_reactions .* ON CONFLICT \(room_id, message_seq, user_id, emoji\) DO UPDATE SET seq = excluded\.seq$/, of: (values) => upsertReactions(values) },
  { text: /^DELETE FROM room_invitations /, of: (values) => deleteRows('invitations', values) },
  { text: /^INSERT INTO room_invitations .* ON CONFLICT \(user_id, room_id\) DO UPDATE SET seq = excluded\.seq$/, of: (values) => upsertInvitations(values) },
  { text: /^DELETE FROM room_blocks /, of: (values) => deleteRows('blocks', values) },
  { text: /^INSERT INTO room_blocks .* ON CONFLICT DO NOTHING$/, of: (values) => insertBlocks(values) },
  {
    text: /^UPDATE message_changes c SET redacted_reason = r\.reason FROM .* WHERE c\.room_id = r\.room_id AND c\.message_seq = r\.message_seq( AND c\.redacted_reason IS NULL)?$/,
    of: (values, [, firstOnly]) => redactChanges(values, firstOnly !== undefined),
  },
  { text: /^UPDATE chat_rooms c SET is_frozen = f\.is_frozen FROM .* WHERE c\.room_id = f\.room_id$/, of: (values) => freezeRooms(values) },
  { text: /^INSERT INTO message_reports /, of: (values) => insertReports(values) },
  { text: /^INSERT INTO room_events /, of: (values) => insertEvents(values) },
  ...meaningsOfUsers,
]

/** The same few texts come again and again. */
const known = new Map<string, { readonly of: Meaning['of']; readonly match: RegExpExecArray }>()

export function statementOf(text: string, values: Values): Statement {
  const found = known.get(text) ?? meaningOf(text)
  known.set(text, found)
  return found.of(values, found.match)
}

function meaningOf(text: string): { readonly of: Meaning['of']; readonly match: RegExpExecArray } {
  const flat = text.replaceAll(/\s+/g, ' ').trim()
  for (const meaning of meanings) {
    const match = meaning.text.exec(flat)
    if (match) return { of: meaning.of, match }
  }
  throw new Error(`the simulated Postgres does not know this statement: ${flat}`)
}

const at = (topic: string, partition: number): string => `${topic}/${partition}`

function insertOffsets(topic: string, partition: number): Statement {
  return writing('insert offsets', ({ offsets }) => {
    if (!offsets.rows.has(at(topic, partition))) offsets.insert(at(topic, partition), { topic, partition, nextOffset: 0, ownerEpoch: -1, lastSources: '{}' })
  })
}

function savePositions([topic, partitions, nextOffsets, ownerEpochs]: Values, forwardOnly: boolean): Statement {
  return writing('save positions', ({ offsets }) =>
    partitions.forEach((partition: number, i: number) => {
      const before = offsets.rows.get(at(topic, partition))
      const nextOffset = Number(nextOffsets[i])
      if (before && forwardOnly && before.nextOffset >= nextOffset) return
      offsets.rows.set(at(topic, partition), { topic, partition, nextOffset, ownerEpoch: Number(ownerEpochs[i]), lastSources: before?.lastSources ?? '{}' })
    }),
  )
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

/** One row, whatever there is. */
function selectPositionAndRoom(topic: string, partition: number, roomId: string): Statement {
  return reading(`select position and room ${roomId}`, ({ offsets, rooms, receipts, blocks }) => {
    const room = rooms.rows.get(roomId)
    const position = offsets.rows.get(at(topic, partition))
    const blocked = [...blocks.rows.values()].filter((row) => row.roomId === roomId)
    const moved = [...receipts.rows.values()].filter((row) => row.roomId === roomId)
    return [
      {
        next_offset: position ? `${position.nextOffset}` : null,
        participants: room?.participants ?? null,
        is_readonly: room?.isReadOnly ?? null,
        is_frozen: room?.isFrozen ?? null,
        head_seq: room?.headSeq ?? null,
        message_count: room?.messageCount ?? null,
        kind: room?.kind ?? null,
        name: room?.name ?? null,
        metadata: room?.metadata ?? null,
        history: room?.history ?? null,
        receipts: moved.length === 0 ? null : moved.map(({ userId, delivered, seen, hidden }) => [userId, delivered, seen, hidden]),
        blocks: blocked.length === 0 ? null : blocked.map(({ blockerId, blockedId }) => `${blockerId} ${blockedId}`),
      },
    ]
  })
}

function selectEvents(roomId: string, from: number, to: number, limit: number): Statement {
  return reading(`select events of ${roomId} ${from} … ${to}`, (tables) => {
    const rows: unknown[] = []
    for (let seq = from; seq <= Math.min(to, tables.events.rows.size) && rows.length < limit; seq++) {
      const row = tables.events.rows.get(`${roomId} ${seq}`)
      if (row) rows.push(visibleEvent(tables, roomId, seq, JSON.parse(row.body)))
    }
    return rows
  })
}

/** The last content of a message, that of an edit only while it is the last, and nothing of what was deleted. */
function visibleEvent({ contents, changes }: Tables, roomId: string, seq: number, body: { readonly type: string; readonly messageSeq?: number }): object {
  const own = contents.rows.get(`${roomId} ${seq}`)
  const isMessage = body.type === 'messageSent'
  const change = isMessage || body.type === 'messageEdited' ? changes.rows.get(`${roomId} ${isMessage ? seq : body.messageSeq}`) : undefined
  const deleted = change !== undefined && change.deletedSeq !== null
  const last = !change || change.contentSeq === seq ? own : isMessage ? contents.rows.get(`${roomId} ${change.contentSeq}`) : undefined
  return { body, revision: change?.revision ?? null, content_seq: change?.contentSeq ?? null, deleted, redacted: isMessage ? (change?.redacted ?? null) : null, content: deleted ? null : (last?.content ?? null), payload: deleted ? null : (own?.payload ?? null) }
}

function selectMessageSeq(roomId: string, messageId: string): Statement {
  return reading(`select seq of ${messageId}`, ({ messageIds }) => {
    const seq = messageIds.rows.get(`${roomId} ${messageId}`)
    return seq === undefined ? [] : [{ seq }]
  })
}

function selectSettings(userId: string): Statement {
  return reading(`select settings of ${userId}`, ({ settings }) => {
    const row = settings.rows.get(userId)
    return row ? [{ hide_receipts: row.hideReceipts, hide_last_seen: row.hideLastSeen }] : []
  })
}

function insertRooms([ids, participants, openedMs, kinds, creators, names, metadata, histories, subjects]: Values): Statement {
  const opened = (roomId: string, i: number): RoomRow => ({
    roomId,
    orderId: kinds[i] === 'order' ? roomId : null,
    participants: JSON.parse(participants[i]),
    isReadOnly: false,
    isFrozen: false,
    headSeq: 0,
    messageCount: 0,
    openedMs: openedMs[i],
    lastEventMs: openedMs[i],
    closedReason: null,
    closedMs: null,
    closeNote: null,
    kind: kinds[i],
    creatorId: creators[i],
    name: names[i],
    metadata: JSON.parse(metadata[i]),
    history: histories[i],
    subjectId: subjects[i],
    mediatorInvited: false,
  })
  return writing('insert rooms', ({ rooms }) => ids.forEach((roomId: string, i: number) => rooms.insert(roomId, opened(roomId, i))))
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

/** Who is in already keeps what the statement does not set. */
function upsertMembers([roomIds, userIds, roles, sinceSeqs]: Values, set: string): Statement {
  const keepsSince = !assignments(set).has('since_seq')
  return writing('upsert members', ({ members }) =>
    roomIds.forEach((roomId: string, i: number) => {
      const key = `${userIds[i]} ${roomId}`
      const before = members.rows.get(key)
      members.rows.set(key, { roomId, userId: userIds[i], role: roles[i], sinceSeq: before && keepsSince ? before.sinceSeq : sinceSeqs[i] })
    }),
  )
}

/** Ordered by since_seq, role, user_id, as the statement says. */
function updateParticipants(roomIds: readonly string[]): Statement {
  return writing('update participants', ({ rooms, members }) => {
    for (const roomId of roomIds) {
      const row = rooms.rows.get(roomId)
      const present = [...members.rows.values()].filter((member) => member.roomId === roomId)
      present.sort((a, b) => a.sinceSeq - b.sinceSeq || (a.role < b.role ? -1 : a.role > b.role ? 1 : a.userId < b.userId ? -1 : 1))
      const participants = present.map(({ userId, role, sinceSeq }) => ({ userId, role, sinceSeq }) as RoomRow['participants'][number])
      if (row) rooms.rows.set(roomId, { ...row, participants })
    }
  })
}

function updateDetails([ids, names, metadata, invited, notes]: Values): Statement {
  return writing('update details', ({ rooms }) =>
    ids.forEach((roomId: string, i: number) => {
      const row = rooms.rows.get(roomId)
      if (!row) return
      rooms.rows.set(roomId, {
        ...row,
        name: names[i] === null ? row.name : names[i] || null,
        metadata: metadata[i] === null ? row.metadata : JSON.parse(metadata[i]),
        mediatorInvited: row.mediatorInvited || invited[i],
        closeNote: notes[i] ?? row.closeNote,
      })
    }),
  )
}

function insertMessages([ids, seqs, messageIds, clientIds, senders, indexes, sentMs, types = [], replyToSeqs = []]: Values): Statement {
  return writing('insert messages', ({ messages, messageIds: unique }) =>
    ids.forEach((roomId: string, i: number) => {
      const rich = { messageType: types[i] ?? null, replyToSeq: replyToSeqs[i] ?? null }
      messages.insert(`${roomId} ${seqs[i]}`, { roomId, seq: seqs[i], messageId: messageIds[i], clientMessageId: clientIds[i], senderId: senders[i], messageIndex: indexes[i], sentMs: sentMs[i], ...rich })
      unique.insert(`${roomId} ${messageIds[i]}`, seqs[i])
    }),
  )
}

function insertContents([ids, seqs, contents, salts, payloads = []]: Values): Statement {
  return writing('insert contents', (tables) => ids.forEach((roomId: string, i: number) => tables.contents.insert(`${roomId} ${seqs[i]}`, { content: contents[i], salt: salts[i], payload: payloads[i] ?? null })))
}

/** What a column becomes where the row is there already: as the statement has it. */
const merges: Readonly<Record<string, (before: number | null, excluded: number | null) => number | null>> = {
  greatest: (before, excluded) => Math.max(before!, excluded!),
  coalesce: (before, excluded) => before ?? excluded,
}

function upsertChanges([ids, messageSeqs, revisions, contentSeqs, deletedSeqs]: Values, set: string): Statement {
  const assigned = assignments(set)
  const merge = (column: string) => {
    const [, by] = new RegExp(`^(greatest|coalesce)\\(c\\.${column}, excluded\\.${column}\\)$`).exec(assigned.get(column) ?? '') ?? []
    if (by === undefined) throw new Error(`the simulated Postgres does not know this assignment: ${set}`)
    return merges[by]!
  }
  const [revision, contentSeq, deletedSeq] = [merge('revision'), merge('content_seq'), merge('deleted_seq')]
  return writing('upsert changes', ({ changes }) =>
    ids.forEach((roomId: string, i: number) => {
      const key = `${roomId} ${messageSeqs[i]}`
      const excluded: ChangeRow = { roomId, messageSeq: messageSeqs[i], revision: revisions[i], contentSeq: contentSeqs[i], deletedSeq: deletedSeqs[i], redacted: null }
      const before = changes.rows.get(key)
      changes.rows.set(key, before ? { ...before, revision: revision(before.revision, excluded.revision)!, contentSeq: contentSeq(before.contentSeq, excluded.contentSeq)!, deletedSeq: deletedSeq(before.deletedSeq, excluded.deletedSeq) } : excluded)
    }),
  )
}

function upsertReceipts([roomIds, userIds, delivered, seen, hidden]: Values, set: readonly string[]): Statement {
  const [keepsDelivered, keepsSeen] = set.map((assignment) => /^greatest\(c\.\w+, excluded\.\w+\)$/.test(assignment))
  return writing('upsert receipts', ({ receipts }) =>
    roomIds.forEach((roomId: string, i: number) => {
      const key = `${roomId} ${userIds[i]}`
      const before = receipts.rows.get(key)
      receipts.rows.set(key, {
        roomId,
        userId: userIds[i],
        delivered: Math.max(delivered[i], keepsDelivered ? (before?.delivered ?? 0) : 0),
        seen: Math.max(seen[i], keepsSeen ? (before?.seen ?? 0) : 0),
        hidden: hidden[i] ?? before?.hidden ?? true,
      })
    }),
  )
}

/** By their key: the columns that the statement names, room first. */
function deleteRows(name: 'reactions' | 'invitations' | 'blocks', columns: Values): Statement {
  return writing(`delete ${name}`, (tables) => {
    const { rows }: Table<unknown> = tables[name]
    columns[0].forEach((_: string, i: number) => rows.delete(columns.map((column) => column[i]).join(' ')))
  })
}

function upsertReactions([roomIds, messageSeqs, userIds, emojis, seqs]: Values): Statement {
  return writing('upsert reactions', ({ reactions }) =>
    roomIds.forEach((roomId: string, i: number) =>
      reactions.rows.set(`${roomId} ${messageSeqs[i]} ${userIds[i]} ${emojis[i]}`, { roomId, messageSeq: messageSeqs[i], userId: userIds[i], emoji: emojis[i], seq: seqs[i] }),
    ),
  )
}

function upsertInvitations([roomIds, userIds, seqs]: Values): Statement {
  return writing('upsert invitations', ({ invitations }) =>
    roomIds.forEach((roomId: string, i: number) => invitations.rows.set(`${roomId} ${userIds[i]}`, { roomId, userId: userIds[i], seq: seqs[i] })),
  )
}

function insertBlocks([roomIds, blockers, blocked]: Values): Statement {
  return writing('insert blocks', ({ blocks }) =>
    roomIds.forEach((roomId: string, i: number) => blocks.rows.set(`${roomId} ${blockers[i]} ${blocked[i]}`, { roomId, blockerId: blockers[i], blockedId: blocked[i] })),
  )
}

function redactChanges([ids, messageSeqs, reasons]: Values, firstOnly: boolean): Statement {
  return writing('redact', ({ changes }) =>
    ids.forEach((roomId: string, i: number) => {
      const key = `${roomId} ${messageSeqs[i]}`
      const row = changes.rows.get(key)
      if (row && (row.redacted === null || !firstOnly)) changes.rows.set(key, { ...row, redacted: reasons[i] })
    }),
  )
}

function freezeRooms([ids, frozen]: Values): Statement {
  return writing('freeze', ({ rooms }) =>
    ids.forEach((roomId: string, i: number) => {
      const row = rooms.rows.get(roomId)
      if (row) rooms.rows.set(roomId, { ...row, isFrozen: frozen[i] })
    }),
  )
}

function insertReports([ids, seqs, messageIds, messageSeqs, reporters, reasons, notes, reportedMs]: Values): Statement {
  return writing('insert reports', ({ reports }) =>
    ids.forEach((roomId: string, i: number) => {
      reports.insert(`${roomId} ${seqs[i]}`, { roomId, seq: seqs[i], messageId: messageIds[i], messageSeq: messageSeqs[i], reporterId: reporters[i], reason: reasons[i], note: notes[i], reportedMs: reportedMs[i] })
    }),
  )
}

function insertEvents([ids, seqs, types, atMs, bodies, partition, offsets]: Values): Statement {
  return writing('insert events', ({ events }) =>
    ids.forEach((roomId: string, i: number) => {
      events.insert(`${roomId} ${seqs[i]}`, { roomId, seq: seqs[i], type: types[i], atMs: atMs[i], body: bodies[i], partition, offset: Number(offsets[i]) })
    }),
  )
}
