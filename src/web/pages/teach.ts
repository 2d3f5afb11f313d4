import "./style/base.css";
import { translate } from "./lib/page";
translate();
