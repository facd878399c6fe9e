import { randomInt } from 'node:crypto'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import net from 'node:net'
import { HOST, StackError } from './config.ts'

export type PortUse = { port: number; what: string; variable: string }

/** @throws StackError naming every port that is taken, by whom, and what to do. */
export async function requireFreePorts(uses: readonly PortUse[]): Promise<void> {
  const free = await Promise.all(uses.map(({ port }) => isFree(port)))
  const busy = uses.filter((_, i) => !free[i])
  if (busy.length === 0) return
  const lines = busy.map(({ port, what, variable }) => {
    return `  ${port} (${what}) is used by ${ownerOf(port) ?? 'another program'}; set ${variable} to use another port`
  })
  throw new StackError(['These ports are taken:', ...lines, 'If they belong to a stack of this project: npm run stop'].join('\n'))
}

export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer()
    server.once('error', () => resolve(false))
    server.listen({ host: HOST, port, exclusive: true }, () => server.close(() => resolve(true)))
  })
}

/** Below the range from which Linux and macOS take the ports of outgoing connections. */
const PICK = { from: 20_000, to: 32_000 } as const

/**
 * Distinct free ports that no outgoing connection will be given: a server that is stopped
 * and started again in a test finds its port still free.
 */
export async function pickFreePorts(count: number): Promise<number[]> {
  const picked = new Set<number>()
  for (let attempt = 0; picked.size < count; attempt++) {
    if (attempt > 1_000) throw new StackError(`found no ${count} free ports between ${PICK.from} and ${PICK.to}`)
    const port = randomInt(PICK.from, PICK.to)
    if (await isFree(port)) picked.add(port)
  }
  return [...picked]
}

/** The process that listens on the port, where /proc tells. */
function ownerOf(port: number): string | undefined {
  try {
    const inode = listeningInode(port)
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      if (inode !== undefined && holdsSocket(pid, inode)) {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
        return `pid ${pid} (${command.slice(0, 60)})`
      }
    }
  } catch {
    // No /proc here, or none of our business.
  }
  return undefined
}

function listeningInode(port: number): string | undefined {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const LISTEN = '0A'
  const rows = ['tcp', 'tcp6'].flatMap((name) => readFileSync(`/proc/net/${name}`, 'utf8').trim().split('\n').slice(1))
  return rows.map((row) => row.trim().split(/\s+/)).find((row) => row[1]?.endsWith(suffix) && row[3] === LISTEN)?.[9]
}

function holdsSocket(pid: string, inode: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`)
  } catch {
    return false
  }
}
