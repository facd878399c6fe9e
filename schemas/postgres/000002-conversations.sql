-- Up Migration

-- Rooms beyond orders, what can be done to a message, and who has seen what. As before, message-persister alone writes
-- here, in the transaction that moves persisted_offsets; to user_settings the api does.

ALTER TABLE chat_rooms
  -- order | direct | group | job | dispute
  ADD COLUMN kind       text  NOT NULL DEFAULT 'order',
  ADD COLUMN creator_id text,
  ADD COLUMN name       text,
  ADD COLUMN metadata   jsonb NOT NULL DEFAULT '{}',
  -- all | fromJoin: what newcomers see; from room_participants.since_seq on
  ADD COLUMN history    text  NOT NULL DEFAULT 'all',
  -- The order or job that it is about.
  ADD COLUMN subject_id text,
  -- A mediator was invited, once at least.
  ADD COLUMN mediator_invited boolean NOT NULL DEFAULT false,
  ADD COLUMN close_note text;
CREATE INDEX chat_rooms_subject ON chat_rooms (subject_id) WHERE subject_id IS NOT NULL;
COMMENT ON COLUMN chat_rooms.participants IS '[{"userId", "role", "sinceSeq"}]; sinceSeq is that of when he came in; left out (1) by writers of before';

ALTER TABLE chat_messages
  -- null: text
  ADD COLUMN message_type text,
  -- The first message of the thread that it is in.
  ADD COLUMN reply_to_seq bigint;
CREATE INDEX chat_messages_thread ON chat_messages (room_id, reply_to_seq, seq) WHERE reply_to_seq IS NOT NULL;

-- Of a message at its own seq; of an edit at the edit's.
ALTER TABLE message_contents
  -- JSON: attachments, location, productId, orderId. Erased with the content.
  ADD COLUMN payload text,
  -- Holds for every row of before, which has none: they need not be looked through.
  ADD CONSTRAINT message_contents_payload_check CHECK (erased_at IS NULL OR payload IS NULL) NOT VALID;

-- Of messages that were edited or deleted: where their present content is. Absent: at the message's own seq.
CREATE TABLE message_changes (
  room_id     text   NOT NULL,
  message_seq bigint NOT NULL,
  revision    bigint NOT NULL,
  -- Of the last messageEdited, or the message's own.
  content_seq bigint NOT NULL,
  -- Of messageDeleted: participants see no content of any revision.
  deleted_seq bigint,
  PRIMARY KEY (room_id, message_seq)
);

CREATE TABLE message_reactions (
  room_id     text   NOT NULL,
  message_seq bigint NOT NULL,
  user_id     text   NOT NULL,
  emoji       text   NOT NULL,
  -- Of the reactionSet.
  seq         bigint NOT NULL,
  PRIMARY KEY (room_id, message_seq, user_id, emoji)
);

-- Cursors, in messageIndexes. Of those who have left too.
CREATE TABLE room_receipts (
  room_id   text    NOT NULL,
  user_id   text    NOT NULL,
  delivered bigint  NOT NULL,
  seen      bigint  NOT NULL,
  hidden    boolean NOT NULL,
  PRIMARY KEY (room_id, user_id)
) WITH (fillfactor = 70);

-- Who may come in as a mediator and has not yet.
CREATE TABLE room_invitations (
  user_id text   NOT NULL,
  room_id text   NOT NULL,
  seq     bigint NOT NULL,
  PRIMARY KEY (user_id, room_id)
);

-- Blocks in force, by room; those of direct rooms are what the blockers have said, the others were passed on from there.
CREATE TABLE room_blocks (
  room_id    text NOT NULL,
  blocker_id text NOT NULL,
  blocked_id text NOT NULL,
  PRIMARY KEY (room_id, blocker_id, blocked_id)
);
CREATE INDEX room_blocks_blocker ON room_blocks (blocker_id, blocked_id);
CREATE INDEX room_blocks_blocked ON room_blocks (blocked_id, blocker_id);

-- The present cards, from product-updates: the later updated_at_ms wins, in any order of arrival.
CREATE TABLE products (
  product_id    text   PRIMARY KEY,
  name          text   NOT NULL,
  price_minor   bigint,
  currency      text,
  image_url     text,
  available     boolean,
  updated_at_ms bigint NOT NULL
);

-- What a user wants others not to see. No row: everything is shown.
CREATE TABLE user_settings (
  user_id        text PRIMARY KEY,
  hide_receipts  boolean NOT NULL DEFAULT false,
  hide_last_seen boolean NOT NULL DEFAULT false,
  updated_at     timestamptz NOT NULL DEFAULT now()
);

-- As before, and the payload goes with the content.
CREATE OR REPLACE FUNCTION guard_contents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND current_setting('order_chat.erasing', true) = OLD.room_id || ' ' || OLD.seq
     AND NEW.content IS NULL AND NEW.salt IS NULL AND NEW.payload IS NULL AND NEW.room_id = OLD.room_id AND NEW.seq = OLD.seq THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'order-chat: % of message_contents is refused', TG_OP
    USING ERRCODE = 'insufficient_privilege', HINT = 'Contents are erased by erase_message_content().';
END $$;

-- Erases one message's content, payload and salt in all its revisions, and says so in admin_audit. True if there was
-- something to erase.
CREATE OR REPLACE FUNCTION erase_message_content(p_room_id text, p_seq bigint, p_actor text, p_reason text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
  one_seq bigint;
  erased  boolean := false;
BEGIN
  IF coalesce(p_actor, '') = '' OR coalesce(p_reason, '') = '' THEN
    RAISE EXCEPTION 'order-chat: an erasure needs an actor and a reason' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  FOR one_seq IN
    SELECT p_seq
    UNION
    SELECT seq FROM room_events
     WHERE room_id = p_room_id AND seq > p_seq AND event_type = 'messageEdited' AND (body ->> 'messageSeq')::bigint = p_seq
  LOOP
    PERFORM set_config('order_chat.erasing', p_room_id || ' ' || one_seq, true);
    UPDATE message_contents SET content = NULL, salt = NULL, payload = NULL, erased_at = now()
     WHERE room_id = p_room_id AND seq = one_seq AND erased_at IS NULL;
    erased := erased OR FOUND;
  END LOOP;
  PERFORM set_config('order_chat.erasing', '', true);
  INSERT INTO admin_audit (actor, action, room_id, details)
  VALUES (p_actor, 'erase_message_content', p_room_id, jsonb_build_object('seq', p_seq, 'reason', p_reason, 'erased', erased));
  RETURN erased;
END $$;

-- What participants see: the last revision, and nothing of what was deleted. An edit changes the text alone, so that the
-- payload is the message's own.
CREATE OR REPLACE VIEW chat_history AS
SELECT m.room_id, m.seq, m.message_id, m.sender_id, c.content, m.sent_at AS "timestamp", m.message_type, own.payload, m.reply_to_seq,
       coalesce(ch.revision, 0) AS revision, ch.deleted_seq IS NOT NULL AS deleted
  FROM chat_messages m
  LEFT JOIN message_changes ch ON ch.room_id = m.room_id AND ch.message_seq = m.seq
  LEFT JOIN message_contents c ON c.room_id = m.room_id AND c.seq = coalesce(ch.content_seq, m.seq) AND ch.deleted_seq IS NULL
  LEFT JOIN message_contents own ON own.room_id = m.room_id AND own.seq = m.seq AND ch.deleted_seq IS NULL;

-- Down Migration
-- There is none: history is never dropped by a migration.
