
BprobabilitiesJ(БnB;б╜:и~╕;hw?ы ▀:ин╟;t║╦;`:;&^r;Й╩B;