import type { StackEndpoints } from '../../../deploy/local/config.ts'
import { kafkaFrames, portRewriter } from '../proxy/kafka-frames.ts'
import { type Shape, type Stall, type StallOptions, TcpProxy } from '../proxy/tcp-proxy.ts'

/** What one service process reaches its servers through. `kafka`: one for each broker. */
export type Wires = { readonly kafka: readonly TcpProxy[]; readonly postgres: TcpProxy; readonly redis: TcpProxy; readonly registry: TcpProxy }
export type Server = keyof Wires

/** Proxies between each service process and each server, so that one process can be cut off while the others go on. */
export class Network {
  readonly #wires = new Map<string, Wires>()
  readonly #others: TcpProxy[] = []

  /** Opens the proxies of a process. @returns where it finds its servers. */
  async connect(id: string, endpoints: StackEndpoints): Promise<StackEndpoints> {
    const wires: Wires = {
      kafka: await kafkaProxies(endpoints.kafkaBrokers.map((broker) => Number(broker.split(':')[1]))),
      postgres: await proxyTo(endpoints.postgresUrl),
      redis: await proxyTo(endpoints.redisUrl),
      registry: await proxyTo(endpoints.schemaRegistryUrl),
    }
    this.#wires.set(id, wires)
    return {
      ...endpoints,
      kafkaBrokers: wires.kafka.map(({ port }) => `127.0.0.1:${port}`),
      postgresUrl: withPort(endpoints.postgresUrl, wires.postgres),
      redisUrl: withPort(endpoints.redisUrl, wires.redis),
      schemaRegistryUrl: withPort(endpoints.schemaRegistryUrl, wires.registry),
    }
  }

  /** One address before several servers, as a load balancer has. */
  async balance(ports: readonly number[]): Promise<TcpProxy> {
    const proxy = await TcpProxy.listen({ targets: ports })
    this.#others.push(proxy)
    return proxy
  }

  of(id: string): Wires {
    const wires = this.#wires.get(id)
    if (!wires) throw new Error(`${id} has no wires`)
    return wires
  }

  /** The proxies between these processes (default: all) and a server. */
  to(server: Server, ids: readonly string[] = [...this.#wires.keys()]): readonly TcpProxy[] {
    return ids.flatMap((id) => this.of(id)[server])
  }

  async close(): Promise<void> {
    const wires = [...this.#wires.values()].flatMap(({ kafka, ...rest }) => [...kafka, ...Object.values(rest)])
    await Promise.all([...wires, ...this.#others].map((proxy) => proxy.close()))
  }
}

/** The same fault on several proxies. */
export function stallAll(proxies: readonly TcpProxy[], options: StallOptions): Stall {
  const stalls = proxies.map((proxy) => proxy.stall(options))
  return {
    get held() {
      return stalls.reduce((sum, { held }) => sum + held, 0)
    },
    holdNoMore: () => stalls.forEach((stall) => stall.holdNoMore()),
    release: () => stalls.forEach((stall) => stall.release()),
  }
}

export function shapeAll(proxies: readonly TcpProxy[], shape: Partial<Shape>): void {
  for (const proxy of proxies) proxy.shape(shape)
}

/** For each broker one proxy; what the brokers say of each other's addresses leads through these proxies, too. */
export async function kafkaProxies(brokerPorts: readonly number[]): Promise<TcpProxy[]> {
  const ports = new Map<number, number>()
  const rewrite = portRewriter(ports)
  const split = { up: () => kafkaFrames(), down: () => kafkaFrames(rewrite) }
  const proxies = await Promise.all(brokerPorts.map((port) => TcpProxy.listen({ targets: [port], split })))
  for (const [i, port] of brokerPorts.entries()) ports.set(port, proxies[i]!.port)
  return proxies
}

const proxyTo = (url: string): Promise<TcpProxy> => TcpProxy.listen({ targets: [Number(new URL(url).port)] })

function withPort(url: string, { port }: TcpProxy): string {
  const changed = new URL(url)
  changed.port = String(port)
  return changed.href
}
