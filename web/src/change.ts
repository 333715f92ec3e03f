import { useMutation, useQueryClient } from '@tanstack/react-query'

/** A change whose result the lists show. */
export function useChange<T, Input = void>(change: (input: Input) => Promise<T>, done: () => void = () => {}) {
  const queries = useQueryClient()
  return useMutation({
    mutationFn: change,
    onSuccess: async () => {
      await queries.invalidateQueries()
      done()
    },
  })
}
