import type { Pool, Queryable } from '#libs/postgres/pool.ts'
import type { PartitionStore } from './core/partition-store.ts'
import type { Rows } from './core/rows.ts'
import { createPartitionStore } from './partition-tables.ts'

export const createMessageStore = (pool: Pool, topic: string): PartitionStore<Rows> => createPartitionStore(pool, topic, writeRows)

async function writeRows(tx: Queryable, partition: number, rows: Rows): Promise<void> {
  if (rows.opened.length > 0) await insertRooms(tx, rows)
  if (rows.heads.length > 0) await updateHeads(tx, rows)
  if (rows.details.length > 0) await updateDetails(tx, rows)
  if (rows.joined.length > 0 || rows.gone.length > 0) await updateMembers(tx, rows)
  if (rows.messages.length > 0) await insertMessages(tx, rows)
  if (rows.contents.length > 0) await insertContents(tx, rows)
  if (rows.changes.length > 0) await upsertChanges(tx, rows)
  if (rows.receipts.length > 0) await upsertReceipts(tx, rows)
  await updateModerated(tx, rows)
  await updateReactions(tx, rows)
  await updateInvitations(tx, rows)
  await updateBlocks(tx, rows)
  if (rows.events.length > 0) await insertEvents(tx, partition, rows)
}

async function insertRooms(tx: Queryable, { opened }: Rows): Promise<void> {
  await tx.query(
    `INSERT INTO chat_rooms (room_id, order_id, participants, head_seq, message_count, opened_at, last_event_at, kind, creator_id, name, metadata, history, subject_id)
     SELECT room_id, CASE kind WHEN 'order' THEN room_id END, participants, 0, 0, to_timestamp(ms / 1000.0), to_timestamp(ms / 1000.0), kind, creator_id, name, metadata, history, subject_id
       FROM unnest($1::text[], $2::jsonb[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::jsonb[], $8::text[], $9::text[])
            AS r(room_id, participants, ms, kind, creator_id, name, metadata, history, subject_id)`,
    [
      opened.map((r) => r.roomId),
      opened.map((r) => JSON.stringify(r.participants)),
      opened.map((r) => r.openedAtMs),
      opened.map((r) => r.kind),
      opened.map((r) => r.creatorId),
      opened.map((r) => r.name),
      opened.map((r) => JSON.stringify(r.metadata)),
      opened.map((r) => r.history),
      opened.map((r) => r.subjectId),
    ],
  )
}

async function updateHeads(tx: Queryable, { heads }: Rows): Promise<void> {
  await tx.query(
    `UPDATE chat_rooms c
        SET head_seq = h.head_seq,
            message_count = coalesce(h.message_count, c.message_count),
            last_event_at = to_timestamp(h.ms / 1000.0),
            is_readonly = c.is_readonly OR h.closed_reason IS NOT NULL,
            closed_reason = coalesce(h.closed_reason, c.closed_reason),
            closed_at = coalesce(to_timestamp(h.closed_ms / 1000.0), c.closed_at)
       FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[])
            AS h(room_id, head_seq, message_count, ms, closed_reason, closed_ms)
      WHERE c.room_id = h.room_id`,
    [
      heads.map((h) => h.roomId),
      heads.map((h) => h.headSeq),
      heads.map((h) => h.messageCount),
      heads.map((h) => h.lastEventMs),
      heads.map((h) => h.closed?.reason ?? null),
      heads.map((h) => h.closed?.atMs ?? null),
    ],
  )
}

async function updateDetails(tx: Queryable, { details }: Rows): Promise<void> {
  await tx.query(
    `UPDATE chat_rooms c
        SET name = CASE WHEN d.name IS NULL THEN c.name ELSE nullif(d.name, '') END,
            metadata = coalesce(d.metadata, c.metadata),
            mediator_invited = c.mediator_invited OR d.mediator_invited,
            close_note = coalesce(d.close_note, c.close_note)
       FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::boolean[], $5::text[]) AS d(room_id, name, metadata, mediator_invited, close_note)
      WHERE c.room_id = d.room_id`,
    [
      details.map((d) => d.roomId),
      details.map((d) => d.name),
      details.map((d) => (d.metadata ? JSON.stringify(d.metadata) : null)),
      details.map((d) => d.mediatorInvited),
      details.map((d) => d.closeNote),
    ],
  )
}

/** Those who went first: who is in again begins anew, while another role for who is in keeps his since_seq. */
async function updateMembers(tx: Queryable, { joined, gone }: Rows): Promise<void> {
  if (gone.length > 0) {
    await tx.query('DELETE FROM room_participants p USING unnest($1::text[], $2::text[]) AS g(room_id, user_id) WHERE p.room_id = g.room_id AND p.user_id = g.user_id', [
      gone.map((g) => g.roomId),
      gone.map((g) => g.userId),
    ])
  }
  if (joined.length > 0) {
    await tx.query(
      `INSERT INTO room_participants (room_id, user_id, role, since_seq)
       SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
       ON CONFLICT (user_id, room_id) DO UPDATE SET role = excluded.role`,
      [joined.map((j) => j.roomId), joined.map((j) => j.userId), joined.map((j) => j.role), joined.map((j) => j.sinceSeq)],
    )
  }
  await tx.query(
    `UPDATE chat_rooms c SET participants = coalesce(
        (SELECT jsonb_agg(jsonb_build_object('userId', p.user_id, 'role', p.role, 'sinceSeq', p.since_seq) ORDER BY p.since_seq, p.role, p.user_id)
           FROM room_participants p WHERE p.room_id = c.room_id), '[]')
      WHERE c.room_id = ANY($1::text[])`,
    [[...new Set([...joined, ...gone].map((m) => m.roomId))]],
  )
}

async function insertMessages(tx: Queryable, { messages, isRich }: Rows): Promise<void> {
  const values = [
    messages.map((m) => m.roomId),
    messages.map((m) => m.seq),
    messages.map((m) => m.messageId),
    messages.map((m) => m.clientMessageId),
    messages.map((m) => m.senderId),
    messages.map((m) => m.messageIndex),
    messages.map((m) => m.timestampMs),
  ]
  // Nearly every batch has text alone, and pays for no more.
  if (!isRich) {
    await tx.query(
      `INSERT INTO chat_messages (room_id, seq, message_id, client_message_id, sender_id, message_index, sent_at)
       SELECT room_id, seq, message_id, client_message_id, sender_id, message_index, to_timestamp(ms / 1000.0)
         FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::bigint[])
              AS m(room_id, seq, message_id, client_message_id, sender_id, message_index, ms)`,
      values,
    )
    return
  }
  await tx.query(
    `INSERT INTO chat_messages (room_id, seq, message_id, client_message_id, sender_id, message_index, sent_at, message_type, reply_to_seq)
     SELECT room_id, seq, message_id, client_message_id, sender_id, message_index, to_timestamp(ms / 1000.0), message_type, reply_to_seq
       FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::bigint[])
            AS m(room_id, seq, message_id, client_message_id, sender_id, message_index, ms, message_type, reply_to_seq)`,
    [...values, messages.map((m) => m.messageType ?? null), messages.map((m) => m.replyToSeq ?? null)],
  )
}

async function insertContents(tx: Queryable, { contents, isRich }: Rows): Promise<void> {
  const values = [contents.map((c) => c.roomId), contents.map((c) => c.seq), contents.map((c) => c.content), contents.map((c) => c.salt)]
  if (!isRich) {
    await tx.query(
      `INSERT INTO message_contents (room_id, seq, content, salt)
       SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[])`,
      values,
    )
    return
  }
  await tx.query(
    `INSERT INTO message_contents (room_id, seq, content, salt, payload)
     SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[])`,
    [...values, contents.map((c) => c.payload ?? null)],
  )
}

/** A row says only what its batch knows: the later revision stands, and what was deleted stays so. */
async function upsertChanges(tx: Queryable, { changes }: Rows): Promise<void> {
  await tx.query(
    `INSERT INTO message_changes AS c (room_id, message_seq, revision, content_seq, deleted_seq)
     SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
     ON CONFLICT (room_id, message_seq) DO UPDATE
        SET revision = greatest(c.revision, excluded.revision),
            content_seq = greatest(c.content_seq, excluded.content_seq),
            deleted_seq = coalesce(c.deleted_seq, excluded.deleted_seq)`,
    [changes.map((c) => c.roomId), changes.map((c) => c.messageSeq), changes.map((c) => c.revision), changes.map((c) => c.contentSeq), changes.map((c) => c.deletedSeq)],
  )
}

/** Seldom anything. The first reason stands. */
async function updateModerated(tx: Queryable, { redactions, frozen, reports }: Rows): Promise<void> {
  if (redactions.length > 0) {
    await tx.query(
      `UPDATE message_changes c SET redacted_reason = r.reason FROM unnest($1::text[], $2::bigint[], $3::text[]) AS r(room_id, message_seq, reason)
        WHERE c.room_id = r.room_id AND c.message_seq = r.message_seq AND c.redacted_reason IS NULL`,
      [redactions.map((r) => r.roomId), redactions.map((r) => r.messageSeq), redactions.map((r) => r.reason)],
    )
  }
  if (frozen.length > 0) {
    await tx.query('UPDATE chat_rooms c SET is_frozen = f.is_frozen FROM unnest($1::text[], $2::boolean[]) AS f(room_id, is_frozen) WHERE c.room_id = f.room_id', [
      frozen.map((f) => f.roomId),
      frozen.map((f) => f.frozen),
    ])
  }
  if (reports.length > 0) {
    await tx.query(
      `INSERT INTO message_reports (room_id, seq, message_id, message_seq, reporter_id, reason, note, reported_at)
       SELECT room_id, seq, message_id, message_seq, reporter_id, reason, note, to_timestamp(ms / 1000.0)
         FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[])
              AS r(room_id, seq, message_id, message_seq, reporter_id, reason, note, ms)`,
      [
        reports.map((r) => r.roomId),
        reports.map((r) => r.seq),
        reports.map((r) => r.messageId),
        reports.map((r) => r.messageSeq),
        reports.map((r) => r.reporterId),
        reports.map((r) => r.reason),
        reports.map((r) => r.note),
        reports.map((r) => r.reportedAtMs),
      ],
    )
  }
}

/** Cursors go up: where a batch only knows that somebody has written, the table may know more. */
async function upsertReceipts(tx: Queryable, { receipts }: Rows): Promise<void> {
  await tx.query(
    `INSERT INTO room_receipts AS c (room_id, user_id, delivered, seen, hidden)
     SELECT room_id, user_id, r.delivered, r.seen, coalesce(r.hidden, b.hidden, true)
       FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::boolean[]) AS r(room_id, user_id, delivered, seen, hidden)
       LEFT JOIN room_receipts b USING (room_id, user_id)
     ON CONFLICT (room_id, user_id) DO UPDATE
        SET delivered = greatest(c.delivered, excluded.delivered), seen = greatest(c.seen, excluded.seen), hidden = excluded.hidden`,
    [receipts.map((r) => r.roomId), receipts.map((r) => r.userId), receipts.map((r) => r.delivered), receipts.map((r) => r.seen), receipts.map((r) => r.hidden)],
  )
}

async function updateReactions(tx: Queryable, { reactions: { put, removed } }: Rows): Promise<void> {
  const keys = (rows: typeof put) => [rows.map((r) => r.roomId), rows.map((r) => r.messageSeq), rows.map((r) => r.userId), rows.map((r) => r.emoji)]
  if (removed.length > 0) {
    await tx.query(
      `DELETE FROM message_reactions r USING unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS g(room_id, message_seq, user_id, emoji)
        WHERE r.room_id = g.room_id AND r.message_seq = g.message_seq AND r.user_id = g.user_id AND r.emoji = g.emoji`,
      keys(removed),
    )
  }
  if (put.length > 0) {
    await tx.query(
      `INSERT INTO message_reactions (room_id, message_seq, user_id, emoji, seq)
       SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[])
       ON CONFLICT (room_id, message_seq, user_id, emoji) DO UPDATE SET seq = excluded.seq`,
      [...keys(put), put.map((r) => r.seq)],
    )
  }
}

async function updateInvitations(tx: Queryable, { invitations: { put, removed } }: Rows): Promise<void> {
  if (removed.length > 0) {
    await tx.query('DELETE FROM room_invitations i USING unnest($1::text[], $2::text[]) AS g(room_id, user_id) WHERE i.room_id = g.room_id AND i.user_id = g.user_id', [
      removed.map((i) => i.roomId),
      removed.map((i) => i.userId),
    ])
  }
  if (put.length > 0) {
    await tx.query(
      `INSERT INTO room_invitations (room_id, user_id, seq)
       SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
       ON CONFLICT (user_id, room_id) DO UPDATE SET seq = excluded.seq`,
      [put.map((i) => i.roomId), put.map((i) => i.userId), put.map((i) => i.seq)],
    )
  }
}

async function updateBlocks(tx: Queryable, { blocks: { put, removed } }: Rows): Promise<void> {
  const keys = (rows: typeof put) => [rows.map((b) => b.roomId), rows.map((b) => b.blockerId), rows.map((b) => b.blockedId)]
  if (removed.length > 0) {
    await tx.query(
      `DELETE FROM room_blocks b USING unnest($1::text[], $2::text[], $3::text[]) AS g(room_id, blocker_id, blocked_id)
        WHERE b.room_id = g.room_id AND b.blocker_id = g.blocker_id AND b.blocked_id = g.blocked_id`,
      keys(removed),
    )
  }
  if (put.length > 0) {
    await tx.query('INSERT INTO room_blocks (room_id, blocker_id, blocked_id) SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING', keys(put))
  }
}

async function insertEvents(tx: Queryable, partition: number, { events }: Rows): Promise<void> {
  await tx.query(
    `INSERT INTO room_events (room_id, seq, event_type, occurred_at, body, log_partition, log_offset)
     SELECT room_id, seq, event_type, to_timestamp(ms / 1000.0), body, $6, log_offset
       FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::jsonb[], $7::bigint[])
            AS e(room_id, seq, event_type, ms, body, log_offset)`,
    [
      events.map((e) => e.roomId),
      events.map((e) => e.seq),
      events.map((e) => e.type),
      events.map((e) => e.timestampMs),
      events.map((e) => e.body),
      partition,
      events.map((e) => e.offset.toString()),
    ],
  )
}
