/** A value of type `T` that has passed the parser of its kind. Only parsers make one. */
export type Brand<T, B extends string> = T & { readonly __brand: B }
