import { readFileSync } from 'node:fs'
import os from 'node:os'
import type { Section, Table } from './bench.ts'

export type MachineFacts = { readonly date: string; readonly cpu: string; readonly cores: number; readonly memoryGb: number; readonly kernel: string; readonly node: string }

export function machineFacts(): MachineFacts {
  const model = /^model name\s*:\s*(.+)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? os.cpus()[0]?.model ?? 'unknown'
  return {
    date: new Date().toISOString(),
    cpu: model,
    cores: os.availableParallelism(),
    memoryGb: Math.round(os.totalmem() / 1024 ** 3),
    kernel: `${os.type()} ${os.release()}`,
    node: process.version,
  }
}

const METS = new Map<boolean | undefined, string>([[true, 'met'], [false, '**missed**'], [undefined, 'measured']])

export function markdownOf(sections: Readonly<Record<string, Section>>): string {
  const all = Object.values(sections)
  const verdicts: Table = {
    title: '',
    head: ['measure', 'goal', 'measured', ''],
    rows: all.flatMap((section) => section.verdicts.map((v) => [v.measure, v.goal, v.measured, METS.get(v.met)!])),
  }
  const warnings = all.flatMap((section) => section.warnings)
  return [
    tableOf(verdicts),
    ...all.flatMap((section) => section.tables.map((table) => `### ${table.title}\n\n${tableOf(table)}`)),
    ...(warnings.length > 0 ? [`### Warnings\n\n${warnings.map((w) => `- ${w}`).join('\n')}`] : []),
  ].join('\n\n')
}

function tableOf({ head, rows }: Table): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n')
}
