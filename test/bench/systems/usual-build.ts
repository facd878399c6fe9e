import { devJwks } from '#libs/auth/dev-key.ts'
import { HOST } from '../../../deploy/local/config.ts'
import { pickFreePorts } from '../../../deploy/local/ports.ts'
import type { LocalProcess } from '../../../deploy/local/process.ts'
import { AUTH_AUDIENCE, AUTH_ISSUER } from '../../../deploy/local/service-env.ts'
import { type World, withPostgres } from '../world.ts'
import { linksOf } from './links.ts'
import type { System } from './system.ts'

const SCHEMA = `
  CREATE TABLE members (room_id text NOT NULL, user_id text NOT NULL, PRIMARY KEY (room_id, user_id));
  CREATE TABLE messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_id text NOT NULL,
    sender_id text NOT NULL,
    client_message_id uuid NOT NULL,
    content text NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (room_id, sender_id, client_message_id)
  );
  CREATE INDEX messages_room ON messages (room_id, id);`

/** Connections to Postgres of each instance: commits that are under way together share an fsync. */
const POOL_MAX = 20

/** Socket.IO 4 with the Redis adapter, two instances, an INSERT for each message into the same Postgres. */
export function usualBuild(world: World): System & { readonly urls: () => readonly string[] } {
  let instances: LocalProcess[] = []
  let urls: string[] = []
  let postgresUrl: string | undefined
  return {
    name: 'usual build',
    urls: () => urls,
    async start() {
      if (postgresUrl === undefined) {
        postgresUrl = await world.createDatabase(`usual_${Date.now()}`)
        await withPostgres(postgresUrl, (client) => client.query(SCHEMA))
      }
      const ports = await pickFreePorts(2)
      const env = {
        POSTGRES_URL: postgresUrl,
        REDIS_URL: `${world.endpoints.redisUrl}/1`,
        JWKS: JSON.stringify(await devJwks(world.devKeyFile)),
        AUTH_ISSUER,
        AUTH_AUDIENCE,
        POOL_MAX: String(POOL_MAX),
        NODE_ENV: 'production',
      }
      instances = await Promise.all(ports.map((port, i) => world.startPeer(`socket-io-${i + 1}`, 'socket-io.ts', port, env)))
      urls = ports.map((port) => `ws://${HOST}:${port}`)
    },
    async stop() {
      await Promise.all(instances.map((instance) => instance.stop()))
    },
    async openRooms(count, prefix) {
      await withPostgres(postgresUrl!, (client) =>
        client.query(
          `INSERT INTO members SELECT $1 || '-' || i, who || '-' || $1 || '-' || i FROM generate_series(0, $2 - 1) AS i, unnest(ARRAY['c', 'v']) AS who`,
          [prefix, count],
        ),
      )
      const { senders, receivers } = await linksOf(world, urls, count, prefix)
      return { senders: { protocol: 'socket-io', links: senders }, receivers: { protocol: 'socket-io', links: receivers } }
    },
    pids: () => new Map([...instances.map((instance) => [instance.name, instance.pid!] as const), ...world.pids('postgres', 'redis')]),
  }
}
