import type { Command } from './command.ts'

export const commands: Command[] = [
  {
    name: 'quickstart',
    summary: 'set everything up, take a backup, prove it with a drill, and leave the service running',
    options: {
      yes: { type: 'boolean', help: 'ask nothing' },
      exit: { type: 'boolean', help: 'stop at the end, with a true exit code' },
    },
    examples: ['quickstart', 'quickstart --yes --exit'],
    run: (context, args) => context.quickstart({ exit: args.flag('exit'), yes: args.flag('yes') }),
  },
  {
    name: 'setup',
    summary: 'make what an installation needs: secrets, configuration, recovery kit',
    options: { 'database-uri-from-environment': { type: 'boolean', help: 'keep CERTAUTOPILOT_DATABASE_URI in secrets.env' } },
    examples: ['setup'],
    async run(context, args) {
      const databaseUri = args.flag('database-uri-from-environment') ? context.environment.CERTAUTOPILOT_DATABASE_URI : undefined
      const { made, kept } = await context.setUpHome({ databaseUri })
      const kit = made.find((path) => path.endsWith('recovery-kit.txt'))
      context.out.summary({ made, kept }, [
        ...made.map((path) => `made       ${path}`),
        ...kept.map((path) => `there      ${path}`),
        ...(kit === undefined ? [] : [`keep       "${kit}" off this machine: with it and a bundle you can restore`]),
        'next       certautopilot serve',
      ])
    },
  },
]
