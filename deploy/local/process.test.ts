import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isAlive, readRecords, startTimeOf, stopRecorded, writeRecord } from './pids.ts'
import { requireFreePorts } from './ports.ts'
import { LocalProcess, type ProcessSpec } from './process.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'order-chat-process-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const dirs = (): { logDir: string; runDir: string } => ({ logDir: path.join(dir, 'logs'), runDir: path.join(dir, 'run') })

/** A program that is ready once it has written `ready` beside itself. */
const READY = `require('fs').writeFileSync('ready', ''); setInterval(() => {}, 1000);`

function spec(script: string, more: Partial<ProcessSpec> = {}): ProcessSpec {
  return {
    name: 'sample',
    command: process.execPath,
    args: ['-e', script],
    cwd: dir,
    env: {},
    stopSignal: 'SIGTERM',
    stopDeadlineMs: 5_000,
    ready: async () => existsSync(path.join(dir, 'ready')),
    readyDeadlineMs: 10_000,
    ...more,
  }
}

describe('LocalProcess', () => {
  test('is recorded while it runs, stops when asked, and leaves no record', async () => {
    const sample = LocalProcess.spawn(spec(READY), dirs())
    await sample.untilReady()
    const [record] = readRecords(dirs().runDir)
    expect(record).toMatchObject({ name: 'sample', pid: sample.pid, owner: process.pid })
    await sample.stop()
    expect(await sample.exited).toEqual({ code: null, signal: 'SIGTERM' })
    expect(readRecords(dirs().runDir)).toEqual([])
  })

  test('one that does not stop in time is killed', async () => {
    const sample = LocalProcess.spawn(spec(`process.on('SIGTERM', () => {}); ${READY}`, { stopDeadlineMs: 200 }), dirs())
    await sample.untilReady()
    await sample.stop()
    expect(await sample.exited).toEqual({ code: null, signal: 'SIGKILL' })
  })

  test('one that ends while starting is told with its last words', async () => {
    const sample = LocalProcess.spawn(spec(`console.error('no such database'); process.exit(3)`), dirs())
    await expect(sample.untilReady()).rejects.toThrow(/exit code 3[^]*no such database/)
  })

  test('one that never gets ready is told, too', async () => {
    const sample = LocalProcess.spawn(spec('setInterval(() => {}, 1000)', { readyDeadlineMs: 200 }), dirs())
    await expect(sample.untilReady()).rejects.toThrow(/not ready within 0.2 s/)
    await sample.stop()
  })

  test('a program that does not exist is told like any other end', async () => {
    const sample = LocalProcess.spawn(spec('', { command: '/no/such/program' }), dirs())
    await expect(sample.untilReady()).rejects.toThrow(/ended while starting/)
  })

  test('the log of the run before is kept', async () => {
    for (const word of ['first', 'second']) {
      const sample = LocalProcess.spawn(spec(`console.log('${word}')`), dirs())
      await sample.exited
    }
    expect(readFileSync(path.join(dir, 'logs/sample.log'), 'utf8')).toBe('second\n')
    expect(readFileSync(path.join(dir, 'logs/sample.log.1'), 'utf8')).toBe('first\n')
  })
})

describe('records of processes', () => {
  test('a pid that another process has by now is left alone', async () => {
    const stranger = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
    const pid = stranger.pid ?? 0
    const record = { name: 'sample', pid, startedAt: 'long ago', stopSignal: 'SIGTERM', discardSignal: 'SIGKILL', owner: 1 } as const
    await stopRecorded(record, 100)
    expect(isAlive({ ...record, startedAt: startTimeOf(pid) ?? '' })).toBe(true)
    stranger.kill('SIGKILL')
  })

  test('an unreadable record names no process', () => {
    mkdirSync(dirs().runDir, { recursive: true })
    writeFileSync(path.join(dirs().runDir, 'broken.json'), '{"pid":')
    writeRecord(dirs().runDir, { name: 'good', pid: 1, startedAt: '', stopSignal: 'SIGTERM', discardSignal: 'SIGKILL', owner: 1 })
    expect(readRecords(dirs().runDir).map(({ name }) => name)).toEqual(['good'])
  })
})

describe('the keeper', () => {
  test('stops what an owner had started that was killed, and deletes its data', async () => {
    const data = path.join(dir, 'data')
    mkdirSync(data)
    const here = (file: string): string => JSON.stringify(fileURLToPath(new URL(file, import.meta.url)))
    const script = `
      const { startKeeper } = await import(${here('./keeper.ts')})
      const { LocalProcess } = await import(${here('./process.ts')})
      startKeeper('discard', ${JSON.stringify(dirs().runDir)}, [${JSON.stringify(data)}])
      const spec = { name: 'sample', command: process.execPath, args: ['-e', 'setInterval(() => {}, 1000)'], env: {}, stopSignal: 'SIGTERM', stopDeadlineMs: 1000, ready: async () => true, readyDeadlineMs: 1000 }
      console.log(LocalProcess.spawn(spec, ${JSON.stringify(dirs())}).pid)
      setInterval(() => {}, 1000)`
    const owner = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    const pid = Number(await new Promise((resolve) => owner.stdout.once('data', (line: Buffer) => resolve(line.toString().trim()))))
    expect(startTimeOf(pid)).toBeDefined()
    owner.kill('SIGKILL')
    await expect.poll(() => startTimeOf(pid), { timeout: 5_000 }).toBeUndefined()
    await expect.poll(() => existsSync(data), { timeout: 5_000 }).toBe(false)
  })
})

describe('requireFreePorts', () => {
  test('names the taken port, its holder and the variable that moves it', async () => {
    const server = net.createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as net.AddressInfo
    const use = { port, what: 'Redis', variable: 'ORDER_CHAT_REDIS_PORT' }
    await expect(requireFreePorts([use])).rejects.toThrow(new RegExp(`${port} \\(Redis\\)[^]*ORDER_CHAT_REDIS_PORT`))
    await new Promise((resolve) => server.close(resolve))
    await expect(requireFreePorts([use])).resolves.toBeUndefined()
  })
})
