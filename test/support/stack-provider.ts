import type { StackEndpoints } from '../../deploy/local/config.ts'

/** The servers by the names that fault tests use. `kafka-2` and `kafka-3` only with three brokers. */
export type ServerName = 'kafka-1' | 'kafka-2' | 'kafka-3' | 'registry' | 'postgres' | 'redis' | 'elasticmq' | 's3proxy'

/** A running throw-away stack, whatever runs it: containers or local processes. */
export type StackProvider = {
  readonly brokers: number
  readonly endpoints: StackEndpoints
  /** Asks the server to stop and waits until it has. */
  stop(server: ServerName): Promise<void>
  /** SIGKILL, and waits until it is gone. */
  kill(server: ServerName): Promise<void>
  /** Starts a stopped server again, with its data and on its port, and waits until it is ready. */
  start(server: ServerName): Promise<void>
  /** Starts whatever an earlier test left stopped. */
  heal(): Promise<void>
  /** Ends everything and deletes every trace. */
  discard(): Promise<void>
}
