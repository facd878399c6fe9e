-- Up Migration

-- Where history rests. Everything below persisted_offsets.next_offset of a partition is in these tables, everything
-- from it on is in the log (docs/architecture.md). Only message-persister writes to them; to admin_audit, the api too.

CREATE TABLE persisted_offsets (
  topic       text    NOT NULL,
  partition   integer NOT NULL,
  next_offset bigint  NOT NULL CHECK (next_offset >= 0),
  -- The epoch in force at next_offset, so that a reader can start there; -1 before the first marker.
  owner_epoch bigint  NOT NULL CHECK (owner_epoch >= -1),
  -- Last applied offset of each input topic: a valid record at or below it means that the log is corrupt.
  last_sources jsonb  NOT NULL DEFAULT '{}',
  updated_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

CREATE TABLE chat_rooms (
  room_id       text PRIMARY KEY,
  order_id      text UNIQUE,
  -- [{"userId": "...", "role": "customer" | "vendor" | "rider"}]
  participants  jsonb   NOT NULL,
  is_readonly   boolean NOT NULL DEFAULT false,
  closed_reason text,
  head_seq      bigint  NOT NULL,
  message_count bigint  NOT NULL,
  opened_at     timestamptz NOT NULL,
  last_event_at timestamptz NOT NULL,
  closed_at     timestamptz
) WITH (fillfactor = 70);

-- Who is in which room now, for "my rooms"; chat_rooms.participants is the same by room.
CREATE TABLE room_participants (
  user_id   text   NOT NULL,
  room_id   text   NOT NULL REFERENCES chat_rooms,
  role      text   NOT NULL,
  since_seq bigint NOT NULL,
  -- The room's, where it never changes; a trigger copies it. Without it, the rooms of a user who has been away cost a
  -- walk through everyone's newer rooms.
  opened_at timestamptz NOT NULL,
  PRIMARY KEY (user_id, room_id)
);
CREATE INDEX room_participants_room ON room_participants (room_id);
CREATE INDEX room_participants_opened ON room_participants (user_id, opened_at DESC, room_id DESC);
CREATE INDEX chat_rooms_opened ON chat_rooms (opened_at DESC, room_id DESC);
-- Few rooms are open at any time.
CREATE INDEX chat_rooms_open ON chat_rooms (opened_at DESC, room_id DESC) WHERE NOT is_readonly;

CREATE FUNCTION copy_opened_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  SELECT opened_at INTO NEW.opened_at FROM chat_rooms WHERE room_id = NEW.room_id;
  RETURN NEW;
END $$;
CREATE TRIGGER room_participants_opened_at BEFORE INSERT ON room_participants FOR EACH ROW EXECUTE FUNCTION copy_opened_at();

CREATE TABLE chat_messages (
  room_id           text   NOT NULL,
  seq               bigint NOT NULL,
  message_id        uuid   NOT NULL,
  client_message_id text   NOT NULL,
  sender_id         text   NOT NULL,
  message_index     bigint NOT NULL,
  sent_at           timestamptz NOT NULL,
  PRIMARY KEY (room_id, seq),
  UNIQUE (room_id, message_id)
) PARTITION BY HASH (room_id);

-- Apart from the messages, so that a content can be erased while the record that it was sent stays.
CREATE TABLE message_contents (
  room_id    text   NOT NULL,
  seq        bigint NOT NULL,
  content    text,
  salt       text,
  erased_at  timestamptz,
  PRIMARY KEY (room_id, seq),
  CHECK ((content IS NULL) = (erased_at IS NOT NULL) AND (salt IS NULL) = (erased_at IS NOT NULL))
) PARTITION BY HASH (room_id);

-- The audit log: every durable event of every room, append-only; a message's content is here only as a salted hash.
CREATE TABLE room_events (
  room_id     text   NOT NULL,
  seq         bigint NOT NULL,
  event_type  text   NOT NULL,
  occurred_at timestamptz NOT NULL,
  body        jsonb  NOT NULL,
  log_partition integer NOT NULL,
  log_offset  bigint NOT NULL,
  PRIMARY KEY (room_id, seq)
) PARTITION BY HASH (room_id);

DO $$
BEGIN
  FOR i IN 0..7 LOOP
    EXECUTE format('CREATE TABLE chat_messages_p%s PARTITION OF chat_messages FOR VALUES WITH (MODULUS 8, REMAINDER %s)', i, i);
    EXECUTE format('CREATE TABLE message_contents_p%s PARTITION OF message_contents FOR VALUES WITH (MODULUS 8, REMAINDER %s)', i, i);
    EXECUTE format('CREATE TABLE room_events_p%s PARTITION OF room_events FOR VALUES WITH (MODULUS 8, REMAINDER %s)', i, i);
  END LOOP;
END $$;

-- What was changed by hand and by whom: erasures, and every read by an admin.
CREATE TABLE admin_audit (
  id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at        timestamptz NOT NULL DEFAULT now(),
  actor     text  NOT NULL,
  action    text  NOT NULL,
  room_id   text,
  details   jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX admin_audit_room ON admin_audit (room_id, at);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'order-chat: % of % is refused: it is append-only', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege', HINT = 'Contents are erased by erase_message_content().';
END $$;

CREATE TRIGGER room_events_append_only BEFORE UPDATE OR DELETE ON room_events FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER chat_messages_append_only BEFORE UPDATE OR DELETE ON chat_messages FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER admin_audit_append_only BEFORE UPDATE OR DELETE ON admin_audit FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Truncation fires no row trigger; on a partitioned table it must be refused on the parent and on each partition.
CREATE TRIGGER admin_audit_no_truncate BEFORE TRUNCATE ON admin_audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['room_events', 'chat_messages', 'message_contents'] LOOP
    EXECUTE format('CREATE TRIGGER %s_no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', t, t);
    FOR i IN 0..7 LOOP
      EXECUTE format('CREATE TRIGGER %s_no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', t || '_p' || i, t || '_p' || i);
    END LOOP;
  END LOOP;
END $$;

-- Contents change only inside erase_message_content(), which sets this for its own statement.
CREATE FUNCTION guard_contents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND current_setting('order_chat.erasing', true) = OLD.room_id || ' ' || OLD.seq
     AND NEW.content IS NULL AND NEW.salt IS NULL AND NEW.room_id = OLD.room_id AND NEW.seq = OLD.seq THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'order-chat: % of message_contents is refused', TG_OP
    USING ERRCODE = 'insufficient_privilege', HINT = 'Contents are erased by erase_message_content().';
END $$;
CREATE TRIGGER message_contents_guard BEFORE UPDATE OR DELETE ON message_contents FOR EACH ROW EXECUTE FUNCTION guard_contents();

-- Erases one message's content and salt, and says so in admin_audit. True if there was something to erase.
CREATE FUNCTION erase_message_content(p_room_id text, p_seq bigint, p_actor text, p_reason text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE erased boolean;
BEGIN
  IF coalesce(p_actor, '') = '' OR coalesce(p_reason, '') = '' THEN
    RAISE EXCEPTION 'order-chat: an erasure needs an actor and a reason' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM set_config('order_chat.erasing', p_room_id || ' ' || p_seq, true);
  UPDATE message_contents SET content = NULL, salt = NULL, erased_at = now()
   WHERE room_id = p_room_id AND seq = p_seq AND erased_at IS NULL;
  erased := FOUND;
  PERFORM set_config('order_chat.erasing', '', true);
  INSERT INTO admin_audit (actor, action, room_id, details)
  VALUES (p_actor, 'erase_message_content', p_room_id, jsonb_build_object('seq', p_seq, 'reason', p_reason, 'erased', erased));
  RETURN erased;
END $$;

-- For people who read with SQL.
CREATE VIEW chat_history AS
SELECT m.room_id, m.seq, m.message_id, m.sender_id, c.content, m.sent_at AS "timestamp"
  FROM chat_messages m JOIN message_contents c USING (room_id, seq);

-- Down Migration
-- There is none: history is never dropped by a migration.
