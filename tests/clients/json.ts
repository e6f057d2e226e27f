/** What the scalar JSON holds. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };
