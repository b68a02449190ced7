// The stylesheet of the views for those who run the service: whoever imports this waits until it is there, so that no
// such view is ever seen without it.
import {styled} from "./styled.js";

await styled("desk.css");
