-- Up Migration

-- A user's own list of chats, as the log user-events has it: message-persister alone writes here, in the transaction that
-- moves persisted_offsets (topic 'user-events'). inbox keeps its own positions there too (topic 'inbox:room-events').

CREATE TABLE user_heads (
  user_id  text   PRIMARY KEY,
  user_seq bigint NOT NULL,
  unread   bigint NOT NULL,
  mentions bigint NOT NULL,
  chats    bigint NOT NULL
) WITH (fillfactor = 50);

-- The last word on each chat. A reader that holds everything up to a user_seq asks for what is above: he has few enough
-- chats to look at them all, and an index on user_seq would make each update twice as dear.
CREATE TABLE user_chats (
  user_id          text    NOT NULL,
  room_id          text    NOT NULL,
  user_seq         bigint  NOT NULL,
  -- in | invited | left
  status           text    NOT NULL,
  room_seq         bigint  NOT NULL,
  kind             text    NOT NULL,
  role             text,
  name             text,
  message_count    bigint  NOT NULL,
  seen             bigint  NOT NULL,
  -- messageIndexes above seen.
  mentions         bigint[] NOT NULL,
  last_activity_ms bigint  NOT NULL,
  -- {"seq", "messageIndex", "messageId", "senderId", "timestampMs"}; null: none that he may see
  last_message     jsonb,
  closed           boolean NOT NULL,
  muted_until_ms   bigint  NOT NULL,
  archived         boolean NOT NULL,
  PRIMARY KEY (user_id, room_id)
) WITH (fillfactor = 50);

-- Down Migration
-- There is none: history is never dropped by a migration.
