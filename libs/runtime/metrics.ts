import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { collectDefaultMetrics, Registry } from 'prom-client'

export { Counter, Gauge, Histogram, type Registry } from 'prom-client'

/** Seconds, from half a millisecond to ten seconds. */
export const latencyBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export function createRegistry(service: string): Registry {
  const registry = new Registry()
  registry.setDefaultLabels({ service })
  collectDefaultMetrics({ register: registry })
  return registry
}

export type HealthServer = { readonly port: number; close(): Promise<void> }

/**
 * `/healthz`: the process lives. `/readyz`: this process itself can take work; it must not depend on what all nodes
 * share, or one outage would unlist every node. `/metrics`: Prometheus text. Port 0 picks a free one.
 */
export async function startHealthServer(options: {
  readonly host: string
  readonly port: number
  readonly registry: Registry
  readonly isReady: () => boolean
}): Promise<HealthServer> {
  const server = createServer((req, res) => {
    const answer = (status: number, body: string, type = 'text/plain; charset=utf-8') => {
      res.writeHead(status, { 'content-type': type }).end(body)
    }
    const path = req.url?.split('?', 1)[0]
    if (path === '/healthz') return answer(200, 'ok\n')
    if (path === '/readyz') return options.isReady() ? answer(200, 'ready\n') : answer(503, 'not ready\n')
    if (path !== '/metrics') return answer(404, 'see /healthz, /readyz, /metrics\n')
    options.registry.metrics().then(
      (text) => answer(200, text, options.registry.contentType),
      (err: unknown) => answer(500, `${err}\n`),
    )
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, options.host, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
