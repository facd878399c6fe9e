-- Up Migration

-- What moderators do, and what they are told. As before, message-persister alone writes here, in the transaction that moves
-- persisted_offsets.

ALTER TABLE chat_rooms
  -- By a moderator: participants write nothing for now.
  ADD COLUMN is_frozen boolean NOT NULL DEFAULT false;

ALTER TABLE message_changes
  -- Of the first messageRedacted. deleted_seq is its seq, unless the message had been deleted before: to participants it is as deleted.
  ADD COLUMN redacted_reason text;

-- Reported by participants. Open until the message is deleted or redacted.
CREATE TABLE message_reports (
  room_id     text        NOT NULL,
  -- Of the messageReported.
  seq         bigint      NOT NULL,
  message_id  uuid        NOT NULL,
  message_seq bigint      NOT NULL,
  reporter_id text        NOT NULL,
  -- spam | abuse | fraud | other
  reason      text        NOT NULL,
  note        text,
  reported_at timestamptz NOT NULL,
  PRIMARY KEY (room_id, seq)
);
CREATE INDEX message_reports_newest ON message_reports (reported_at DESC, room_id DESC, seq DESC);

-- As before, and why what is redacted is.
CREATE OR REPLACE VIEW chat_history AS
SELECT m.room_id, m.seq, m.message_id, m.sender_id, c.content, m.sent_at AS "timestamp", m.message_type, own.payload, m.reply_to_seq,
       coalesce(ch.revision, 0) AS revision, ch.deleted_seq IS NOT NULL AS deleted, ch.redacted_reason AS redacted
  FROM chat_messages m
  LEFT JOIN message_changes ch ON ch.room_id = m.room_id AND ch.message_seq = m.seq
  LEFT JOIN message_contents c ON c.room_id = m.room_id AND c.seq = coalesce(ch.content_seq, m.seq) AND ch.deleted_seq IS NULL
  LEFT JOIN message_contents own ON own.room_id = m.room_id AND own.seq = m.seq AND ch.deleted_seq IS NULL;

-- Down Migration
-- There is none: history is never dropped by a migration.
