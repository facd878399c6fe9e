import { Gauge, Histogram, latencyBuckets, type Registry } from '#libs/runtime/metrics.ts'

export type ApiMetrics = {
  /** Seconds from the request's arrival to the end of its answer; long polls that waited count apart. */
  readonly requestDuration: Histogram<'method' | 'route' | 'status'>
  /** Seconds from a command's sending to its answer in the log. */
  readonly commandSeconds: Histogram<'outcome'>
}

/** What is asked for when it is read. */
export type ApiState = {
  readonly waiters: () => number
  readonly connections: () => { readonly total: number; readonly idle: number; readonly waiting: number }
  readonly pending: () => number
  readonly isListening: () => boolean
  readonly isInboxListening: () => boolean
}

export function createMetrics(registry: Registry, read: ApiState): ApiMetrics {
  const registers = [registry]
  addGauges(registers, read)
  return {
    commandSeconds: new Histogram({
      name: 'api_command_seconds',
      help: 'Commands by outcome: ok or an error code',
      labelNames: ['outcome'],
      buckets: latencyBuckets,
      registers,
    }),
    requestDuration: new Histogram({
      name: 'http_request_duration_seconds',
      help: 'HTTP requests by route and status',
      labelNames: ['method', 'route', 'status'],
      buckets: latencyBuckets,
      registers,
    }),
  }
}

function addGauges(registers: Registry[], read: ApiState): void {
  new Gauge({
    name: 'api_long_poll_waiters',
    help: 'Long polls that wait for a room to move',
    registers,
    collect() {
      this.set(read.waiters())
    },
  })
  new Gauge({
    name: 'postgres_pool_connections',
    help: 'Connections of the pool by state; waiting: queries without one',
    labelNames: ['state'],
    registers,
    collect() {
      const { total, idle, waiting } = read.connections()
      this.set({ state: 'busy' }, total - idle)
      this.set({ state: 'idle' }, idle)
      this.set({ state: 'waiting' }, waiting)
    },
  })
  new Gauge({
    name: 'api_pending_commands',
    help: 'Commands that wait for their answer in the log',
    registers,
    collect() {
      this.set(read.pending())
    },
  })
  new Gauge({
    name: 'api_log_up',
    help: '1: the log is followed, so writing is possible',
    registers,
    collect() {
      this.set(read.isListening() ? 1 : 0)
    },
  })
  new Gauge({
    name: 'api_inbox_log_up',
    help: "1: user-events is followed, so that users' lists of chats can be changed",
    registers,
    collect() {
      this.set(read.isInboxListening() ? 1 : 0)
    },
  })
}
