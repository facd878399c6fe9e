-- Up Migration

-- What users who were away were told, and where browsers want to be told. Notifier writes notifications, notifications_shown
-- and notifier_processes, its own positions to persisted_offsets (topic 'notifier:user-events'), and jobs to the schema
-- graphile_worker, which graphile-worker makes by migrations of its own. The api closes notifications that their user has
-- read there, and writes push subscriptions; notifier removes those that a push service says are gone.

-- Of two states of what is shown about a room, the one with the higher number is the later.
CREATE SEQUENCE notification_versions;

CREATE TABLE notifications (
  -- UUIDv5 of (user, room, first_index), of an invitation (user, room, last_seq): made again it is the same.
  notification_id uuid   PRIMARY KEY,
  user_id         text   NOT NULL,
  room_id         text   NOT NULL,
  -- message | mention | invitation
  kind            text   NOT NULL CHECK (kind IN ('message', 'mention', 'invitation')),
  -- messageIndexes of the first and the last message that it is about; null: an invitation.
  first_index     bigint,
  last_index      bigint,
  -- The room's seq of the last message, or as of the invitation.
  last_seq        bigint NOT NULL,
  -- Unread messages of the room; 0 for an invitation, and where all is read.
  count           bigint NOT NULL,
  -- Of the last message.
  sender_id       text,
  room_kind       text   NOT NULL,
  room_name       text,
  -- The user's unread messages in all rooms, as of user_seq.
  badge           bigint NOT NULL,
  user_seq        bigint NOT NULL,
  -- Taken anew at each change that receivers are told of.
  version         bigint NOT NULL,
  created_at      timestamptz NOT NULL,
  updated_at      timestamptz NOT NULL,
  -- When it was read elsewhere, or was of no more use. null: it is open.
  read_at         timestamptz,
  -- read | muted | archived | left | answered (an invitation)
  closed_by       text,
  CHECK ((first_index IS NULL) = (kind = 'invitation') AND (last_index IS NULL) = (kind = 'invitation')),
  CHECK ((read_at IS NULL) = (closed_by IS NULL))
) WITH (fillfactor = 70);
-- One open notification of a user about a room; later messages raise its count.
CREATE UNIQUE INDEX notifications_open ON notifications (user_id, room_id) WHERE read_at IS NULL;
-- The last about a room.
CREATE INDEX notifications_of_room ON notifications (user_id, room_id, version DESC);
CREATE INDEX notifications_of_user ON notifications (user_id, created_at DESC, notification_id DESC);
CREATE INDEX notifications_updated ON notifications (updated_at);

-- Who closes one by hand sets read_at and closed_by: the later version, and that the other devices hear of it, come from here.
CREATE FUNCTION tell_closed_notification() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.version := nextval('notification_versions');
  -- Absent where only the tables are, as in a database made anew from the topics.
  IF to_regnamespace('graphile_worker') IS NOT NULL THEN
    PERFORM graphile_worker.add_job('closed', json_build_object('userId', NEW.user_id, 'roomId', NEW.room_id), max_attempts => 100, job_key => 'closed ' || NEW.user_id || ' ' || NEW.room_id);
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER notifications_closed_by_hand BEFORE UPDATE ON notifications FOR EACH ROW
  WHEN (OLD.read_at IS NULL AND NEW.read_at IS NOT NULL AND NEW.version = OLD.version) EXECUTE FUNCTION tell_closed_notification();

-- What may stand on a screen: written before it is sent, and removed when it was cleared. Only what is here needs clearing.
CREATE TABLE notifications_shown (
  user_id  text   NOT NULL,
  room_id  text   NOT NULL,
  -- sqs | webhook | webPush:<subscription_id>
  target   text   NOT NULL,
  version  bigint NOT NULL,
  begun_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (user_id, room_id, target)
);
CREATE INDEX notifications_shown_begun ON notifications_shown (begun_at);

-- Processes that work off jobs, and when they last said so: what a dead one has locked is given to the others.
CREATE TABLE notifier_processes (
  process_id text PRIMARY KEY,
  pool_ids   text[] NOT NULL,
  beat_at    timestamptz NOT NULL DEFAULT now()
);

-- A browser's endpoint is one user's at a time: the last who registered it.
CREATE TABLE push_subscriptions (
  subscription_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id         text NOT NULL,
  endpoint        text NOT NULL UNIQUE CHECK (length(endpoint) <= 2048),
  -- base64url, as PushSubscription.toJSON() has them
  p256dh          text NOT NULL,
  auth            text NOT NULL,
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX push_subscriptions_user ON push_subscriptions (user_id);

-- Down Migration
-- There is none: history is never dropped by a migration.
