// Text files imported as modules (the `Text` rule of wrangler.toml).

declare module "*.txt" {
  const text: string;
  export default text;
}
